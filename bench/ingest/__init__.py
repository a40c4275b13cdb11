"""Trades over a real socket into candles: Spot's path and its peers', flat out."""
