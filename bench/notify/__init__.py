"""The gateway's ear: how many candles a second it takes from PostgreSQL's notifications."""
