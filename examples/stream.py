"""Follow candles from Python, through every break, with exact numbers.

pip install aiohttp
python examples/stream.py http://localhost:8080 BTC-USD ETH-USD

Every completed candle is printed, in order, and each state of the running one in between. After a
break that the gateway bridges from the tables (`opening` says `replayed`), some completed ones may
come again: keep them by product and start.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import aiohttp

# The gateway's heartbeat comes every 5 s: three missing ones, and the connection is dead.
SILENCE = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=15)


async def events(
    http: aiohttp.ClientSession, url: str, query: dict[str, str], last_id: str
) -> AsyncIterator[tuple[str, str, Any]]:
    """Yield (event, id, data) of one connection until it ends."""
    headers = {"Last-Event-ID": last_id} if last_id else {}
    async with http.get(
        f"{url}/api/v1/stream", params=query, headers=headers, timeout=SILENCE
    ) as answer:
        answer.raise_for_status()
        name, event_id, data = "message", "", ""
        async for raw in answer.content:
            field, _, value = raw.decode().rstrip("\r\n").partition(": ")
            if field == "event":
                name = value
            elif field == "id":
                event_id = value
            elif field == "data":
                data += value
            elif field == "" and data:  # the empty line that ends an event
                yield name, event_id, json.loads(data)
                name, event_id, data = "message", "", ""


async def follow(url: str, products: list[str]) -> AsyncIterator[dict[str, Any]]:
    """Yield candles for ever; after a break go on after the last one."""
    query = {"product": ",".join(products), "granularity": "1m", "format": "json"}
    last_id = ""
    async with aiohttp.ClientSession() as http:
        while True:
            try:
                async for name, event_id, data in events(http, url, query, last_id):
                    if name == "candle":
                        yield data
                    elif name == "opening" and last_id and data["start"] == "snapshot":
                        print("away too long: ask /api/v1/candles for what is missing")
                    elif name == "heartbeat" and data["status"] != "ok":
                        print(f"not live: {data['status']}, {data['lag'] or '?'} s behind")
                    # Only now: what was not taken in is sent again.
                    last_id = event_id or last_id
            except aiohttp.ClientResponseError as error:
                if error.status < 500 and error.status != 429:
                    raise  # a wrong question does not get better
            except (aiohttp.ClientError, TimeoutError):
                pass
            await asyncio.sleep(1)


async def main(url: str, products: list[str]) -> None:
    """Print what comes."""
    async for candle in follow(url, products):
        change = Decimal(candle["close"]) - Decimal(candle["open"])
        state = "closed" if candle["complete"] else "open"
        print(candle["product"], candle["start"], candle["close"], change, state, flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2:]))
