"""The fleet's numbers for Prometheus: all shards of the process tree in one answer.

Made anew for each scrape from the newest reports, so nothing is kept and nothing can drift apart.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from shards.health import read_report
from shards.report import FleetReport, Phase
from spot.coinbase.feed_log import TROUBLES


class _Number(NamedTuple):
    field: str  # of the ShardReport
    name: str
    help: str


_GAUGES = (
    _Number("lag_seconds", "exchange_lag_seconds", "Since the newest exchange time heard"),
    _Number("clients", "clients", "WebSocket clients"),
    _Number("clients_connected", "clients_connected", "Of these, connected"),
    _Number("products", "products", "Products assigned"),
    _Number("products_live", "products_live", "Of these, with a first frame"),
    _Number("products_withheld", "products_withheld", "Still written by a fleet of another count"),
    _Number("gaps_open", "gaps_open", "Holes in the trade ids not mended yet"),
    _Number("rows_pending", "rows_pending", "Changed candles that wait to be written"),
    _Number("pending_seconds", "pending_seconds", "For how long the oldest of them waits"),
    _Number("database_seconds", "database_outage_seconds", "For how long the database is away"),
    _Number("last_flush_ms", "last_flush_milliseconds", "The newest write"),
    _Number("loop_lag_ms", "loop_lag_milliseconds", "By how much the newest heartbeat was late"),
    _Number("memory_bytes", "memory_bytes", "Resident memory"),
    _Number("remembered", "events_remembered", "Kept for a take-over"),
)
_COUNTERS = (
    _Number("trades", "trades", "Trades received, repetitions included"),
    _Number("trades_late", "trades_late", "For time already let go: a repair fetches them"),
    _Number(
        "trades_refused", "trades_refused", "Stamped over 60 s ahead of their frame: not taken"
    ),
    _Number("trades_foreign", "trades_foreign", "Of products it does not write, see withheld"),
    _Number("rows_written", "rows_written", "Candle rows changed in the table"),
    _Number(
        "rows_refused",
        "rows_refused",
        "Candles that were dropped because more waited than there is room for",
    ),
    _Number("rows_rejected", "rows_rejected", "Candles the table refused"),
    _Number("flushes", "flushes", "Writes that changed something"),
    _Number("write_failures", "write_failures", "Writes that failed and are tried again"),
    _Number("notifications_failed", "notifications_failed", "Flushes not announced"),
    _Number("reconnects", "reconnects", "Connections after each client's first"),
)


class FleetCollector(Collector):
    """Turns one report into metrics."""

    def __init__(self, fleet: FleetReport) -> None:
        self._fleet = fleet
        self._reports = [(str(p.shard), read_report(p)) for p in fleet.shards]

    def collect(self) -> Iterator[Metric]:
        """Yield every metric with a sample per shard."""
        for number in _GAUGES:
            gauge = GaugeMetricFamily(f"spot_shard_{number.name}", number.help, labels=["shard"])
            for shard, value in self._values(number.field):
                gauge.add_metric([shard], value)
            yield gauge
        for number in _COUNTERS:
            counter = CounterMetricFamily(
                f"spot_shard_{number.name}", number.help, labels=["shard"]
            )
            for shard, value in self._values(number.field):
                counter.add_metric([shard], value)
            yield counter
        yield self._troubles()
        yield self._up()
        yield self._restarts()
        yield self._phases()

    def _values(self, field: str) -> Iterable[tuple[str, float]]:
        for shard, report in self._reports:
            value = getattr(report, field)
            if value is not None:
                yield shard, value

    def _troubles(self) -> Metric:
        counter = CounterMetricFamily(
            "spot_shard_frame_troubles",
            "Frames that could not be read, that never came, or that refuse something",
            labels=["shard", "kind"],
        )
        for shard, report in self._reports:
            for kind in TROUBLES:
                value = report.troubles.get(kind, 0)
                counter.add_metric([shard, kind.replace(" ", "_")], value)
        return counter

    def _up(self) -> Metric:
        gauge = GaugeMetricFamily("spot_shard_up", "Whether its process runs", labels=["shard"])
        for process in self._fleet.shards:
            gauge.add_metric([str(process.shard)], process.pid is not None)
        return gauge

    def _restarts(self) -> Metric:
        counter = CounterMetricFamily("spot_shard_restarts", "Lives before this", labels=["shard"])
        for process in self._fleet.shards:
            counter.add_metric([str(process.shard)], process.restarts)
        return counter

    def _phases(self) -> Metric:
        gauge = GaugeMetricFamily(
            "spot_shard_phase", "1 for the phase it is in", labels=["shard", "phase"]
        )
        for shard, report in self._reports:
            for phase in Phase:
                gauge.add_metric([shard, phase.value], report.phase is phase)
        return gauge


def metrics_text(fleet: FleetReport) -> bytes:
    """Return the metrics in the text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(FleetCollector(fleet))
    return generate_latest(registry)
