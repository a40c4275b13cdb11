"""The first start of a fleet right after midnight: yesterday's last minutes are told of, and true."""

import pytest

from spot.models import Granularity
from spot.store import Pool, candles
from tests.e2e.test_provable_candles import until_spotless
from tests.fixtures.exchange import StartExchange
from tests.fixtures.fleet import SIMULATED, environ_of, until_feeding
from tests.fixtures.processes import StartProcess

pytestmark = pytest.mark.timeout(200)

MIDNIGHT = 1_790_726_400
DAY = Granularity.ONE_DAY


async def test_the_day_before_the_first_start_is_whole_or_not_there(
    start_exchange: StartExchange, start_process: StartProcess, database_url: str, pool: Pool
) -> None:
    # The snapshot of trades begins after midnight; that of candles has the five minutes before it.
    exchange = await start_exchange(
        products=4, rate=8, history_days=2, start_at=MIDNIGHT + 60, speed=6.0, snapshot_trades=20
    )
    fleet = start_process("-m", "shards", environ=environ_of(exchange, database_url))
    await until_feeding(pool, shards=1, products=len(exchange.product_ids))
    await until_spotless(database_url, exchange, MIDNIGHT + 120, seconds=120)
    assert fleet.stop() == 0, fleet.log
    for product_id in exchange.product_ids:
        days = await candles(pool, SIMULATED, product_id, DAY, limit=2)
        yesterday = [(day.start, day.complete, day.coverage.value) for day in days[:-1]]
        assert yesterday == [(MIDNIGHT - DAY.seconds, True, "full")], product_id
