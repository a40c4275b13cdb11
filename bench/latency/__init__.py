"""How late a trade's candle is at a browser: exchange, fleet, database, gateway, stream."""
