"""/metrics: what was counted, as Prometheus's own parser reads it, and the sum over workers."""

import aiohttp
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from spot.gateway.limits import REFUSAL_CODES
from spot.gateway.metrics import CLOSE_REASONS, HistogramMeasure, Measures, Sample, merge, text_of
from spot.store import Pool
from tests.fixtures.gateway import Publisher, open_stream, running_gateway
from tests.fixtures.store import eventually, make_candle

Found = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def parse(text: str) -> Found:
    """Return every sample by its name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def scrape(url: str) -> Found:
    async with aiohttp.ClientSession() as http, http.get(f"{url}/metrics") as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        return parse(await answer.text())


async def test_streams_and_what_they_were_sent_are_counted(
    database_url: str, publish: Publisher
) -> None:
    await publish(make_candle(at=1))
    async with running_gateway(database_url) as (gateway, url):
        async with open_stream(url, "product=BTC-USD&format=json") as stream:
            await stream.until(lambda e: e.name == "candle")
            await publish(make_candle(at=2, trades=7))
            await stream.until(lambda e: e.name == "candle" and e.json["trades"] == 7)
            found = await scrape(url)
            assert found["spot_gateway_streams", (("format", "json"),)] == 1
            assert found["spot_gateway_streams", (("format", "datastar"),)] == 0
            opened = (("format", "json"), ("start", "snapshot"))
            assert found["spot_gateway_streams_opened_total", opened] == 1
            assert found["spot_gateway_notifications_total", ()] == 1
            assert found["spot_gateway_writes_total", ()] >= 2
            assert found["spot_gateway_fan_out_seconds_count", ()] >= 1
            assert found["spot_gateway_notify_lag_seconds_bucket", (("le", "+Inf"),)] == 1
            assert found["spot_gateway_ready_workers", ()] == 1
        await eventually(lambda: gateway.hub.streams == 0)
        found = await scrape(url)
        assert found["spot_gateway_streams_closed_total", (("reason", "client"),)] == 1


async def test_what_a_gateway_does_not_take_is_counted(
    database_url: str, publish: Publisher, pool: Pool
) -> None:
    await publish(make_candle(at=1))
    async with running_gateway(database_url) as (gateway, url), pool.connection() as connection:
        for text in ('[1,"coinbase",0,1,2,1,1,[]]', "hello"):
            await connection.execute("SELECT pg_notify('candle', %s)", (text,))
        await publish(make_candle(at=2, trades=7))

        await eventually(lambda: gateway.tail.notifications == 1)
        found = await scrape(url)
    assert found["spot_gateway_notifications_unreadable_total", ()] == 2
    assert found["spot_gateway_notifications_stale_total", ()] == 0


async def test_the_first_refusal_is_an_increase(database_url: str, publish: Publisher) -> None:
    """Whoever watches sees 0 before it: a series that begins at 1 has no increase."""
    await publish(make_candle(at=1))
    async with running_gateway(database_url, max_streams_per_address=1) as (_, url):
        before = await scrape(url)
        async with (
            open_stream(url, "product=BTC-USD"),
            open_stream(url, "product=BTC-USD") as refused,
        ):
            assert refused.status == 429
        after = await scrape(url)
    for code in REFUSAL_CODES:
        sample = "spot_gateway_streams_refused_total", (("limit", code),)
        assert before[sample] == 0
        assert after[sample] == (code == "too_many_streams_of_address")
    for reason in CLOSE_REASONS:
        assert before["spot_gateway_streams_closed_total", (("reason", reason),)] == 0


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=5))
def test_sum_over_workers(values: list[int]) -> None:
    found = parse(
        text_of(
            merge(
                Measures(
                    [
                        Sample("news", (), value),
                        Sample("streams_closed", ("slow",), value),
                        Sample("exchange_lag_seconds", (), value),
                    ],
                    {"fan_out_seconds": HistogramMeasure([0.1, 1.0], [value, 1, 2], value / 2)},
                )
                for value in values
            )
        ).decode()
    )
    assert found["spot_gateway_news_total", ()] == sum(values)
    assert found["spot_gateway_streams_closed_total", (("reason", "slow"),)] == sum(values)
    assert found["spot_gateway_exchange_lag_seconds", ()] == max(values)
    name = "spot_gateway_fan_out_seconds_bucket"
    counts = [found[name, (("le", bound),)] for bound in ("0.1", "1.0", "+Inf")]
    workers = len(values)
    assert counts == [sum(values), sum(values) + workers, sum(values) + 3 * workers]
