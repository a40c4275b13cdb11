"""Where candles are kept: PostgreSQL, with or without TimescaleDB.

The fleet writes (`BatchWriter` under a `Lease`), the gateway listens (`CandleListener`) and reads
(`newest_candles`, `candles`, `changed_since`); they meet nowhere else. Statements are in
`statements.py`, tables in `sql/`. Every error that leaves this package is a `StoreError`.
"""

from spot.store.batch import CandleBatch
from spot.store.gaps import gaps_since, open_gaps, save_gaps
from spot.store.lease import Lease, hold_lease
from spot.store.listener import CandleListener
from spot.store.notification import CHANNEL, Notification, pack, unpack
from spot.store.pool import Connection, Pool, connect, open_pool
from spot.store.products import all_products, get_active_products, save_products
from spot.store.reader import candles, candles_since, changed_since, newest_candles
from spot.store.schema import MigrationStatus, check_schema, migrate, rollback
from spot.store.spelling import spell
from spot.store.status import ShardStatus, read_statuses, save_status
from spot.store.upsert import upsert_candles
from spot.store.writer import BatchWriter

__all__ = [
    "CHANNEL",
    "BatchWriter",
    "CandleBatch",
    "CandleListener",
    "Connection",
    "Lease",
    "MigrationStatus",
    "Notification",
    "Pool",
    "ShardStatus",
    "all_products",
    "candles",
    "candles_since",
    "changed_since",
    "check_schema",
    "connect",
    "gaps_since",
    "get_active_products",
    "hold_lease",
    "migrate",
    "newest_candles",
    "open_gaps",
    "open_pool",
    "pack",
    "read_statuses",
    "rollback",
    "save_gaps",
    "save_products",
    "save_status",
    "spell",
    "unpack",
    "upsert_candles",
]
