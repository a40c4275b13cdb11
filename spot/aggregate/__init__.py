"""Pure arithmetic: trades become minutes, minutes become every coarser candle."""
