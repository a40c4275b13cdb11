"""Candles out: LISTEN on PostgreSQL, one hub, many Server-Sent Event streams and a small HTTP API."""
