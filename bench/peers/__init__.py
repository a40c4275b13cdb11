"""The peers: each in a virtual environment of its own, made on first use, never in ours.

The scripts beside this file run in those environments; they import nothing of Spot.
"""
