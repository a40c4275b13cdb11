"""Candles into PostgreSQL: a shard's whole flush against raw psql with the same COPY and upsert."""
