"""Read stored candles, exact as they were written: the newest of a product, and its last hours.

DATABASE_URL=postgresql://... python examples/read_candles.py BTC-USD
"""

import asyncio
import os
import sys

import spot

EXCHANGE = os.environ.get("EXCHANGE", "coinbase")  # `simulated` after `make demo`


async def read(database_url: str, product: str) -> None:
    """Print the newest candle of each width, then the last hours."""
    async with spot.open_pool(database_url, application_name="example", is_read_only=True) as pool:
        for candle in await spot.newest_candles(pool, EXCHANGE, [product]):
            print(candle.granularity.short, candle.start, candle.close, candle.coverage)
        hours = await spot.candles(pool, EXCHANGE, product, spot.Granularity.ONE_HOUR, limit=24)
        volume = sum(candle.volume for candle in hours)
        print(f"{len(hours)} hours, {volume} traded, {sum(not c.complete for c in hours)} open")


if __name__ == "__main__":
    asyncio.run(read(os.environ["DATABASE_URL"], sys.argv[1]))
