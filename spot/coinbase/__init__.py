"""Exchange in: Coinbase's WebSocket frames and REST answers become trades, candles and feed events."""
