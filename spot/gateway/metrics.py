"""/metrics: what this gateway has done, summed over all worker processes, as Prometheus reads it.

Every worker takes its `Measures` as one flat struct; whichever is asked for /metrics asks its
siblings for theirs, adds them up and writes the text. A worker that was started again begins at
zero, which Prometheus takes for what it is.
"""

from collections.abc import Iterable, Iterator, Mapping

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from spot.clock import utc_now
from spot.gateway.gateway import GATEWAY, Gateway
from spot.gateway.health import seconds_since
from spot.gateway.histogram import Histogram
from spot.gateway.limits import REFUSAL_CODES

PREFIX = "spot_gateway_"
# Told from zero on, as are the refusals: an alert on the increase of a counter that appears with its
# first burst would miss that one.
CLOSE_REASONS = ("client", "slow", "lifetime", "shutdown")
# Per family: what it counts, and the names of its labels.
COUNTERS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "streams_opened": ("Streams opened, by how they began.", ("format", "start")),
    "streams_closed": ("Streams closed, by the reason.", ("reason",)),
    "streams_refused": ("Streams refused, by the limit.", ("limit",)),
    "news": ("Candles that were news.", ()),
    "conflated": ("Candle states replaced by newer ones before they were sent.", ()),
    "writes": ("Writes to streams.", ()),
    "sent_bytes": ("Bytes of events written to streams.", ()),
    "lags": ("Times a stream stopped to drain.", ()),
    "notifications": ("Notifications received.", ()),
    "notification_holes": ("Times a notification was found missing.", ()),
    "notifications_stale": ("Notifications of a former owner, or told before: not taken.", ()),
    "notifications_unreadable": ("Notifications not taken, as of another release.", ()),
    "rereads": ("Times the tables were read again.", ()),
    "listens": ("Times the listener connected.", ()),
}
GAUGES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "workers": ("Worker processes that answered.", ()),
    "streams": ("Streams open now.", ("format",)),
    "streams_lagging": ("Streams that do not drain now.", ()),
    "ready_workers": ("Workers that listen and know the state.", ()),
}
# Merged as the largest, not as the sum.
LARGEST: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "exchange_lag_seconds": ("Age of the newest exchange time known.", ()),
}
HISTOGRAMS: Mapping[str, str] = {
    "fan_out_seconds": "Time to write one tick's news to all streams.",
    "notify_lag_seconds": "From an open candle's newest exchange time to the arrival of its notification.",
}


class HistogramMeasure(msgspec.Struct):
    """A histogram's bounds, the counts between them, and the sum of all values."""

    bounds: list[float]
    counts: list[int]
    total: float


class Sample(msgspec.Struct):
    """One number of a family."""

    name: str
    labels: tuple[str, ...]
    value: float


class Measures(msgspec.Struct):
    """Everything one worker, or all of them, have measured."""

    samples: list[Sample]
    histograms: dict[str, HistogramMeasure]


def measure(gateway: Gateway) -> Measures:
    """Return this worker's measures."""
    hub, tail, counts = gateway.hub, gateway.tail, gateway.hub.counts
    lag = seconds_since(gateway.exchange_at(), utc_now())
    samples = [Sample("streams_opened", key, n) for key, n in counts.opened.items()]
    closed = {**dict.fromkeys(CLOSE_REASONS, 0), **counts.closed}
    samples += [Sample("streams_closed", (key,), n) for key, n in closed.items()]
    refused = {**dict.fromkeys(REFUSAL_CODES, 0), **gateway.limits.refused}
    samples += [Sample("streams_refused", (key,), n) for key, n in refused.items()]
    samples += [Sample("streams", (key,), n) for key, n in hub.streams_by_format().items()]
    plain = {
        "news": counts.news,
        "conflated": counts.conflated,
        "writes": counts.writes,
        "sent_bytes": counts.bytes_out,
        "lags": counts.lags,
        "notifications": tail.notifications,
        "notification_holes": tail.holes,
        "notifications_stale": tail.stale,
        "notifications_unreadable": gateway.listener.malformed,
        "rereads": tail.rereads,
        "listens": gateway.listener.connects,
        "workers": 1,
        "ready_workers": int(gateway.is_ready),
        "streams_lagging": hub.lagging,
    }
    samples += [Sample(name, (), value) for name, value in plain.items()]
    if lag is not None:
        samples.append(Sample("exchange_lag_seconds", (), lag))
    histograms = {"fan_out_seconds": hub.fan_out_seconds, "notify_lag_seconds": tail.notify_lag}
    return Measures(samples, {name: _measured(found) for name, found in histograms.items()})


def _measured(histogram: Histogram) -> HistogramMeasure:
    return HistogramMeasure(list(histogram.bounds), list(histogram.counts), histogram.total)


def merge(found: Iterable[Measures]) -> Measures:
    """Return the sum over workers."""
    samples: dict[tuple[str, tuple[str, ...]], float] = {}
    histograms: dict[str, HistogramMeasure] = {}
    for measures in found:
        for sample in measures.samples:
            key = sample.name, sample.labels
            before = samples.get(key, 0.0)
            is_largest = sample.name in LARGEST
            samples[key] = max(before, sample.value) if is_largest else before + sample.value
        for name, histogram in measures.histograms.items():
            so_far = histograms.get(name)
            if so_far is None:
                histograms[name] = histogram
                continue
            counts = [a + b for a, b in zip(so_far.counts, histogram.counts, strict=True)]
            total = so_far.total + histogram.total
            histograms[name] = HistogramMeasure(histogram.bounds, counts, total)
    return Measures([Sample(*key, value) for key, value in samples.items()], histograms)


class _Families(Collector):
    """Hands measures to the client library, whose text format it is."""

    def __init__(self, measures: Measures) -> None:
        self._measures = measures

    def collect(self) -> Iterator[Metric]:
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {
            name: CounterMetricFamily(PREFIX + name, text, labels=labels)
            for name, (text, labels) in COUNTERS.items()
        }
        for name, (text, labels) in (*GAUGES.items(), *LARGEST.items()):
            families[name] = GaugeMetricFamily(PREFIX + name, text, labels=labels)
        for sample in self._measures.samples:
            families[sample.name].add_metric(list(sample.labels), sample.value)
        yield from families.values()
        for name, histogram in self._measures.histograms.items():
            family = HistogramMetricFamily(PREFIX + name, HISTOGRAMS[name])
            family.add_metric([], _buckets(histogram), histogram.total)
            yield family


def _buckets(histogram: HistogramMeasure) -> list[tuple[str, float]]:
    buckets, seen = [], 0
    for bound, count in zip([*map(str, histogram.bounds), "+Inf"], histogram.counts, strict=True):
        seen += count
        buckets.append((bound, float(seen)))
    return buckets


def text_of(measures: Measures) -> bytes:
    """Return the measures in Prometheus's text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(measures))
    return generate_latest(registry)


def decoded(answers: Iterable[bytes]) -> Iterator[Measures]:
    """Yield what siblings answered; one that was killed in mid-answer is left out."""
    for text in answers:
        try:
            measures = msgspec.json.decode(text, type=Measures)
        except msgspec.DecodeError:
            continue
        yield measures


async def get_metrics(request: web.Request) -> web.Response:
    """Answer with the sum over all workers."""
    gateway = request.app[GATEWAY]
    others = await gateway.siblings.ask() if gateway.siblings is not None else []
    body = text_of(merge([measure(gateway), *decoded(others)]))
    return web.Response(
        body=body, headers={"Content-Type": CONTENT_TYPE_LATEST, "Cache-Control": "no-store"}
    )
