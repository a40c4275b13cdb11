"""Frames into exact trades, and into candles: CPU time per trade, without any socket."""
