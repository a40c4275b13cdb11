"""Spot: the domain of spot candles, from Coinbase's frames to PostgreSQL and to the browser.

Nothing here knows of shards or processes: that is the package `shards`.
"""
