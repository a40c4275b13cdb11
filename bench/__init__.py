"""Benchmarks: each folder has a `run.py` with `main()`, which prints its table and its verdict."""
