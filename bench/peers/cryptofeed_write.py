"""HOST PORT USER DATABASE ROWS BATCH: cryptofeed's CandlesPostgres; prints JSON.

Its own class formats and sends; the table is that of its examples. It appends a row for every
update of a candle and never changes one, so a row here is less than an upsert there.
"""

import asyncio
import json
import sys
import time
from datetime import datetime

import asyncpg
from cryptofeed.backends.postgres import CandlesPostgres

HOST, PORT, USER, DATABASE = sys.argv[1:5]
ROWS, BATCH = map(int, sys.argv[5:7])
TABLE = """
    CREATE TABLE peer_candles (
        id serial PRIMARY KEY, timestamp timestamp, receipt timestamp, exchange varchar(32),
        symbol varchar(32), candle_start timestamp, candle_stop timestamp, interval varchar(4),
        trades integer, open numeric, close numeric, high numeric, low numeric, volume numeric,
        closed boolean
    )
"""


IS_NEW = hasattr(CandlesPostgres, "_prepare")  # 3.x queues dictionaries, 2.x tuples
START = 1_748_779_200


def update(number):
    """Return one update of a candle as its queue holds it."""
    symbol = f"B{number % 556:04d}-USD"
    candle = {
        "start": START, "stop": START + 60, "interval": "1m", "trades": number,
        "open": "97000.00", "close": "97012.34", "high": "97112.75", "low": "96887.01",
        "volume": f"{number / 81:.8f}", "closed": False,
    }  # fmt: skip
    if IS_NEW:
        times = {"timestamp": START, "receipt_timestamp": START}
        return {"exchange": "COINBASE", "symbol": symbol, **times, **candle}
    now = datetime(2025, 6, 1, 12)  # noqa: DTZ001 - its columns have no zone
    return "COINBASE", symbol, now, now, candle


async def main():
    """Write all batches, one after the other."""
    setup = await asyncpg.connect(host=HOST, port=int(PORT), user=USER, database=DATABASE)
    await setup.execute(TABLE)
    await setup.close()
    backend = CandlesPostgres(
        host=HOST, port=int(PORT), user=USER, db=DATABASE, table="peer_candles"
    )
    if IS_NEW:
        await backend.connect()
    batches = [[update(at + i) for i in range(BATCH)] for at in range(0, ROWS, BATCH)]
    await backend.write_batch(batches.pop())
    began = time.monotonic()
    for batch in batches:
        await backend.write_batch(batch)
    seconds = time.monotonic() - began
    print(json.dumps({"rows": len(batches) * BATCH, "seconds": seconds}))


asyncio.run(main())
