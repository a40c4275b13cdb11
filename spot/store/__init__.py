"""Candles to PostgreSQL and back: pool, batch, writer, lease, listener, reader."""
