"""The SQL of shards and gateways; that of operators is in `history_statements` and beside its use,
as are LISTEN and the look at the schema.

The guard of the upsert is the law of the table: newer information only, nothing for what did not
change, and a complete candle never becomes incomplete again. It makes every write idempotent.
"""

from psycopg.sql import SQL

# The fence reads the epoch after its lock: with one snapshot for both, a stale one would pass.
# A server that crashes without it forgets what it has acknowledged, and no one would write it again.
PREPARE_SESSION = """
    SELECT set_config('timezone', 'UTC', false),
           set_config('synchronous_commit',
                      CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on'
                      ELSE current_setting('synchronous_commit') END, false),
           set_config('default_transaction_isolation', 'read committed', false),
           set_config('statement_timeout', %s, false),
           set_config('idle_in_transaction_session_timeout', %s, false)
"""
READ_ONLY = "SET default_transaction_read_only = on"

# Plain types, cast in the insert: a column of the enum type in a live session's temporary table
# would make the rollback of the migration fail.
CREATE_STAGE = """
    DISCARD TEMP;
    CREATE TEMPORARY TABLE spot_stage (
        product_id text, granularity text, start bigint,
        open numeric, high numeric, low numeric, close numeric, volume numeric,
        trades bigint, last_trade_id bigint, complete boolean, coverage text,
        revision integer, source text, updated_us bigint
    ) ON COMMIT DELETE ROWS
"""
COPY_STAGE = """
    COPY spot_stage (
        product_id, granularity, start, open, high, low, close, volume,
        trades, last_trade_id, complete, coverage, revision, source, updated_us
    ) FROM STDIN
"""

_INSERT = SQL("""
    INSERT INTO candles AS t (
        exchange, product_id, granularity, start, open, high, low, close, volume,
        trades, last_trade_id, complete, coverage, revision, source, updated_at
    )
""")
_CAST = SQL("""
    SELECT %s, s.product_id, s.granularity::candle_granularity, to_timestamp(s.start),
           s.open, s.high, s.low, s.close, s.volume, s.trades, s.last_trade_id,
           s.complete, s.coverage, s.revision, s.source,
           'epoch'::timestamptz + s.updated_us * INTERVAL '1 microsecond'
""")
_FROM_STAGE = SQL("""
    FROM spot_stage AS s
    -- All writers lock rows in one order, so two that overlap cannot deadlock.
    ORDER BY s.product_id, s.granularity::candle_granularity, s.start
""")
# updated_at is left out of the compared rows: a restatement without news is no change.
_ON_CONFLICT = SQL("""
    ON CONFLICT (exchange, product_id, granularity, start) DO UPDATE SET
        open = EXCLUDED.open, high = EXCLUDED.high, low = EXCLUDED.low, close = EXCLUDED.close,
        volume = EXCLUDED.volume, trades = EXCLUDED.trades,
        last_trade_id = EXCLUDED.last_trade_id, complete = EXCLUDED.complete,
        coverage = EXCLUDED.coverage, revision = EXCLUDED.revision, source = EXCLUDED.source,
        updated_at = EXCLUDED.updated_at
    WHERE (EXCLUDED.revision, EXCLUDED.updated_at) >= (t.revision, t.updated_at)
      AND (EXCLUDED.complete OR NOT t.complete)
      AND (t.open, t.high, t.low, t.close, t.volume, t.trades, t.last_trade_id,
           t.complete, t.coverage, t.revision, t.source)
          IS DISTINCT FROM
          (EXCLUDED.open, EXCLUDED.high, EXCLUDED.low, EXCLUDED.close, EXCLUDED.volume,
           EXCLUDED.trades, EXCLUDED.last_trade_id, EXCLUDED.complete, EXCLUDED.coverage,
           EXCLUDED.revision, EXCLUDED.source)
    RETURNING t.product_id, t.granularity, t.start
""")
# Nearly always every row changed, and then their number says it all.
UPSERT_STAGE = (
    SQL("WITH changed (product_id, granularity, start) AS (")
    + (_INSERT + _CAST + _FROM_STAGE + _ON_CONFLICT)
    + SQL("""
    ), total AS (SELECT count(*) AS rows FROM changed)
    SELECT total.rows, c.product_id, c.granularity::text, extract(epoch FROM c.start)::bigint
    FROM total LEFT JOIN changed AS c ON total.rows < %s
""")
)

# The fence: an advisory lock and not a row lock, which would write WAL for every flush. It is a
# statement of its own because the epoch must be read by a later snapshot than the lock's.
SHARE_FENCE = "SELECT pg_advisory_xact_lock_shared(%s::integer, %s::integer)"
TAKE_FENCE = "SELECT pg_advisory_xact_lock(%s::integer, %s::integer)"
READ_EPOCH = "SELECT epoch FROM shard_leases WHERE exchange = %s AND shard_index = %s"
# Takers come one at a time, so that whoever commits later sees all who came before.
TAKE_TURN = "SELECT pg_advisory_xact_lock(%s::integer, 0)"
READ_TIMELINE = "SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8)"
READ_OWNER = "SELECT owner FROM shard_leases WHERE exchange = %s AND shard_index = %s"
# The order of the takers must hold even if the server's clock was set back in between.
TAKE_LEASE = """
    INSERT INTO shard_leases AS l (exchange, shard_index, shard_count, epoch, owner, taken_at)
    VALUES (%(exchange)s, %(shard_index)s, %(shard_count)s, 1, %(owner)s, GREATEST(
        clock_timestamp(),
        (SELECT max(taken_at) + INTERVAL '1 microsecond'
         FROM shard_leases WHERE exchange = %(exchange)s)
    ))
    ON CONFLICT (exchange, shard_index) DO UPDATE SET
        shard_count = EXCLUDED.shard_count, epoch = l.epoch + 1,
        owner = EXCLUDED.owner, taken_at = EXCLUDED.taken_at
    RETURNING epoch, taken_at
"""
TRY_LEASE = "SELECT pg_try_advisory_xact_lock(%s::integer, %s::integer)"
RETIRE_LEASE = """
    UPDATE shard_leases SET shard_count = %s, epoch = epoch + 1, owner = %s,
           taken_at = GREATEST(clock_timestamp(), taken_at)
    WHERE exchange = %s AND shard_index = %s AND epoch = %s
"""
# Only of another count's leases is it asked who holds them: the locks' view is not free.
READ_CLAIMS = """
    SELECT l.shard_index, l.shard_count, l.epoch, l.taken_at,
           CASE WHEN l.shard_count = %(shard_count)s THEN true ELSE EXISTS (
               SELECT FROM pg_locks AS k
               WHERE k.locktype = 'advisory' AND k.granted AND k.objsubid = 2
                 AND k.database = (SELECT oid FROM pg_database WHERE datname = current_database())
                 AND k.classid::bigint = %(key)s::bigint & 4294967295
                 AND k.objid::bigint = l.shard_index
           ) END
    FROM shard_leases AS l WHERE l.exchange = %(exchange)s ORDER BY l.shard_index
"""
WAIT_FOR_LEASE = "SELECT pg_advisory_lock(%s::integer, %s::integer)"
LOCK_TIMEOUT = "SELECT set_config('lock_timeout', %s, false)"
LOCK_TIMEOUT_HERE = "SELECT set_config('lock_timeout', %s, true)"  # for this transaction
# The two integers of a session lock stand in classid and objid as unsigned numbers.
LEASE_HOLDER = """
    SELECT l.pid, a.application_name, host(a.client_addr), w.owner
    FROM pg_locks AS l
    LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
    LEFT JOIN shard_leases AS w ON w.exchange = %(exchange)s AND w.shard_index = %(shard_index)s
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND l.classid::bigint = %(key)s::bigint & 4294967295
      AND l.objid::bigint = %(shard_index)s
"""
# A live owner asks for its epoch every few seconds on the connection of its lease; one that has
# asked nothing for long is stopped, or its network is dead. Whoever waits for a lock itself lives.
END_SILENT_HOLDER = """
    SELECT a.pid, extract(epoch FROM clock_timestamp() - a.state_change)::float8,
           pg_terminate_backend(a.pid)
    FROM pg_locks AS l JOIN pg_stat_activity AS a ON a.pid = l.pid
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND l.classid::bigint = %(key)s::bigint & 4294967295
      AND l.objid::bigint = %(shard_index)s
      AND a.wait_event_type IS DISTINCT FROM 'Lock'
      AND clock_timestamp() - a.state_change > make_interval(secs => %(silent_seconds)s)
"""

NOTIFY = "SELECT pg_notify(%s, %s)"
# In a transaction without data: notifications do not outlive the server, so nobody waits for its
# disk.
NOTIFY_ALL = """
    SELECT set_config('synchronous_commit', 'off', true), count(pg_notify(%s, payload))
    FROM unnest(string_to_array(%s, E'\\x1e')) AS payload
"""
PING = "SELECT 1"

UPSERT_PRODUCT = """
    INSERT INTO products AS t (
        exchange, product_id, base_currency, quote_currency, status, price_increment,
        base_increment, alias, is_disabled, venue, active
    )
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT (exchange, product_id) DO UPDATE SET
        base_currency = EXCLUDED.base_currency, quote_currency = EXCLUDED.quote_currency,
        status = EXCLUDED.status, price_increment = EXCLUDED.price_increment,
        base_increment = EXCLUDED.base_increment, alias = EXCLUDED.alias,
        is_disabled = EXCLUDED.is_disabled, venue = EXCLUDED.venue,
        active = EXCLUDED.active, updated_at = now()
    WHERE (t.base_currency, t.quote_currency, t.status, t.price_increment, t.base_increment,
           t.alias, t.is_disabled, t.venue, t.active)
          IS DISTINCT FROM
          (EXCLUDED.base_currency, EXCLUDED.quote_currency, EXCLUDED.status,
           EXCLUDED.price_increment, EXCLUDED.base_increment, EXCLUDED.alias,
           EXCLUDED.is_disabled, EXCLUDED.venue, EXCLUDED.active)
"""
RETIRE_PRODUCTS = """
    UPDATE products SET active = false, updated_at = now()
    WHERE exchange = %s AND active AND NOT product_id = ANY (%s)
"""
READ_PRODUCTS = """
    SELECT product_id, base_currency, quote_currency, status, price_increment, base_increment,
           alias, is_disabled, venue
    FROM products
    WHERE exchange = %s AND (active OR NOT %s)
    ORDER BY product_id
"""

_CANDLE_COLUMNS = SQL("""
    SELECT c.product_id, c.granularity::text, extract(epoch FROM c.start)::bigint,
           c.open, c.high, c.low, c.close, c.volume, c.trades, c.last_trade_id,
           c.complete, c.coverage, c.revision, c.source,
           (extract(epoch FROM c.updated_at) * 1000000)::bigint
""")
READ_PRODUCT_IDS = "SELECT product_id FROM products WHERE exchange = %s"
# One granularity a statement, and a beginning that is a constant: so the planner sees only some of
# the partitions. It opens and locks each that it sees.
READ_NEWEST = _CANDLE_COLUMNS + SQL("""
    FROM unnest(%(product_ids)s::text[]) AS wanted (product_id)
    CROSS JOIN LATERAL (
        SELECT * FROM candles
        WHERE exchange = %(exchange)s AND product_id = wanted.product_id
          AND granularity = %(granularity)s::candle_granularity
          AND start >= to_timestamp(%(start)s)
        ORDER BY start DESC LIMIT 1
    ) AS c
""")
READ_RANGE = _CANDLE_COLUMNS + SQL("""
    FROM candles AS c
    WHERE c.exchange = %(exchange)s AND c.product_id = %(product_id)s
      AND c.granularity = %(granularity)s::candle_granularity
      AND c.start >= to_timestamp(%(start)s) AND c.start < to_timestamp(%(end)s)
    ORDER BY c.start DESC LIMIT %(limit)s
""")
READ_SINCE = _CANDLE_COLUMNS + SQL("""
    FROM candles AS c
    WHERE c.exchange = %(exchange)s AND c.granularity = %(granularity)s::candle_granularity
      AND c.start >= to_timestamp(%(start)s)
    ORDER BY c.product_id, c.start
""")
READ_CHILDREN = _CANDLE_COLUMNS + SQL("""
    FROM unnest(%(product_ids)s::text[], %(starts)s::bigint[]) AS wanted (product_id, start)
    CROSS JOIN LATERAL (
        SELECT * FROM candles
        WHERE exchange = %(exchange)s AND product_id = wanted.product_id
          AND granularity = %(granularity)s::candle_granularity
          AND start >= to_timestamp(%(oldest)s) AND start >= to_timestamp(wanted.start)
    ) AS c
    ORDER BY c.product_id, c.start
""")

SAVE_STATUS = """
    INSERT INTO shard_status (
        exchange, shard_index, shard_count, epoch, pid, host, started_at, seen_at, exchange_at,
        clients, clients_connected, products, products_live, products_not_live, gaps_open,
        rows_written, rows_pending, last_flush_ms
    )
    VALUES (%s, %s, %s, %s, %s, %s, %s, now(), %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT (exchange, shard_index) DO UPDATE SET
        shard_count = EXCLUDED.shard_count, epoch = EXCLUDED.epoch, pid = EXCLUDED.pid,
        host = EXCLUDED.host, started_at = EXCLUDED.started_at, seen_at = EXCLUDED.seen_at,
        exchange_at = EXCLUDED.exchange_at, clients = EXCLUDED.clients,
        clients_connected = EXCLUDED.clients_connected, products = EXCLUDED.products,
        products_live = EXCLUDED.products_live,
        products_not_live = EXCLUDED.products_not_live, gaps_open = EXCLUDED.gaps_open,
        rows_written = EXCLUDED.rows_written, rows_pending = EXCLUDED.rows_pending,
        last_flush_ms = EXCLUDED.last_flush_ms
    WHERE shard_status.epoch <= EXCLUDED.epoch
"""
READ_STATUSES = """
    SELECT shard_index, shard_count, epoch, pid, host, started_at, exchange_at, clients,
           clients_connected, products, products_live, products_not_live, gaps_open,
           rows_written, rows_pending, last_flush_ms, seen_at, extract(epoch FROM now() - seen_at)::float8
    FROM shard_status WHERE exchange = %s ORDER BY shard_index
"""

SAVE_GAP = """
    INSERT INTO trade_gaps (
        exchange, product_id, first_id, last_id, after_at, before_at, found_at, repaired_at, how
    )
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT (exchange, product_id, first_id) DO UPDATE SET
        last_id = EXCLUDED.last_id, after_at = EXCLUDED.after_at, before_at = EXCLUDED.before_at,
        found_at = EXCLUDED.found_at, repaired_at = EXCLUDED.repaired_at, how = EXCLUDED.how
    WHERE trade_gaps.repaired_at IS NULL OR trade_gaps.last_id IS NULL
"""
READ_GAPS = """
    WITH open AS (
        SELECT product_id, min(coalesce(after_at, before_at)) - interval '2 days' AS since
        FROM trade_gaps WHERE exchange = %(exchange)s AND repaired_at IS NULL GROUP BY product_id
    )
    SELECT product_id, first_id, last_id, after_at, before_at, found_at, repaired_at, how
    FROM trade_gaps WHERE exchange = %(exchange)s
      AND (repaired_at IS NULL OR (%(since)s::jsonb IS NOT NULL AND (
          first_id = 1 OR before_at >= least(
              (%(since)s::jsonb ->> product_id)::timestamptz,
              ((SELECT jsonb_object_agg(o.product_id, o.since) FROM open AS o)
               ->> product_id)::timestamptz))))
      AND (%(product_ids)s::text[] IS NULL OR product_id = ANY (%(product_ids)s::text[]))
    ORDER BY product_id, first_id
"""

# Minutes told whole by the exchange have no id: `start` bounds how many of them are passed over.
READ_NEWEST_TRADED = _CANDLE_COLUMNS + SQL("""
    FROM unnest(%(product_ids)s::text[], %(starts)s::bigint[]) AS wanted (product_id, start)
    CROSS JOIN LATERAL (
        SELECT * FROM candles
        WHERE exchange = %(exchange)s AND product_id = wanted.product_id
          AND granularity = %(granularity)s::candle_granularity
          AND start >= to_timestamp(%(oldest)s) AND start >= to_timestamp(wanted.start)
          AND last_trade_id IS NOT NULL
        ORDER BY start DESC LIMIT 1
    ) AS c
""")
