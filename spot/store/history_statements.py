"""The SQL of `history.py` and `survey.py`: what operators' commands write and look at.

`MEND_STAGE` is their upsert: unlike the shards' it raises the revision itself, in the statement,
and touches a row only where it is unproven, or is still the one that was judged wrong.
"""

from psycopg.sql import SQL

MEND_STAGE = SQL("""
    INSERT INTO candles AS t (
        exchange, product_id, granularity, start, open, high, low, close, volume,
        trades, last_trade_id, complete, coverage, revision, source, updated_at
    )
    SELECT %(exchange)s, s.product_id, s.granularity::candle_granularity, to_timestamp(s.start),
           s.open, s.high, s.low, s.close, s.volume, s.trades, s.last_trade_id,
           s.complete, s.coverage, s.revision, s.source,
           'epoch'::timestamptz + s.updated_us * INTERVAL '1 microsecond'
    FROM spot_stage AS s
    -- All writers lock rows in one order, so two that overlap cannot deadlock.
    ORDER BY s.product_id, s.granularity::candle_granularity, s.start
    ON CONFLICT (exchange, product_id, granularity, start) DO UPDATE SET
        open = EXCLUDED.open, high = EXCLUDED.high, low = EXCLUDED.low, close = EXCLUDED.close,
        volume = EXCLUDED.volume, trades = EXCLUDED.trades,
        last_trade_id = EXCLUDED.last_trade_id, complete = EXCLUDED.complete,
        coverage = EXCLUDED.coverage, source = EXCLUDED.source,
        revision = CASE WHEN t.complete THEN t.revision + 1 ELSE t.revision END,
        updated_at = greatest(t.updated_at, EXCLUDED.updated_at)
    WHERE (%(unproven)s AND (NOT t.complete OR t.coverage = 'partial'))
       OR (%(wrong)s AND t.revision = EXCLUDED.revision)
    RETURNING t.product_id, t.granularity::text, extract(epoch FROM t.start)::bigint, t.revision,
              (extract(epoch FROM t.updated_at) * 1000000)::bigint
""")
# Two upserts may share a transaction, and only its end empties the table by itself.
CLEAR_STAGE = "DELETE FROM spot_stage"
REMOVE_CANDLE = """
    DELETE FROM candles
    WHERE exchange = %s AND product_id = %s AND granularity = %s::candle_granularity
      AND start = to_timestamp(%s) AND revision = %s
"""

SAVE_PAGE = """
    INSERT INTO history_pages AS p (
        exchange, product_id, granularity, start, until, candles, read_at
    )
    VALUES (
        %s, %s, %s::candle_granularity, to_timestamp(%s), to_timestamp(%s), %s, %s
    )
    ON CONFLICT (exchange, product_id, granularity, start) DO UPDATE SET
        until = EXCLUDED.until, candles = EXCLUDED.candles, read_at = EXCLUDED.read_at
"""
READ_PAGES = """
    SELECT extract(epoch FROM start)::bigint, extract(epoch FROM until)::bigint, read_at, candles
    FROM history_pages
    WHERE exchange = %(exchange)s AND product_id = %(product_id)s
      AND granularity = %(granularity)s::candle_granularity
      AND start < to_timestamp(%(end)s) AND until > to_timestamp(%(start)s)
    ORDER BY start
"""
# A statement of its own, with bounds that the planner knows: else it opens and locks every partition.
COUNT_FULL = """
    SELECT count(c.start)
    FROM unnest(%(starts)s::bigint[], %(ends)s::bigint[])
         WITH ORDINALITY AS p (start, until, number)
    LEFT JOIN candles AS c
      ON c.exchange = %(exchange)s AND c.product_id = %(product_id)s
     AND c.granularity = %(granularity)s::candle_granularity
     AND c.start >= to_timestamp(%(oldest)s) AND c.start < to_timestamp(%(newest)s)
     AND c.start >= to_timestamp(p.start) AND c.start < to_timestamp(p.until)
     AND c.complete AND c.coverage = 'full'
    GROUP BY p.number ORDER BY p.number
"""
READ_MARKS = """
    SELECT extract(epoch FROM start)::bigint, complete AND coverage = 'full',
           trades, last_trade_id
    FROM candles
    WHERE exchange = %(exchange)s AND product_id = %(product_id)s
      AND granularity = %(granularity)s::candle_granularity
      AND start >= to_timestamp(%(start)s) AND start < to_timestamp(%(end)s)
    ORDER BY start
"""
READ_TOUCHING_GAPS = """
    SELECT product_id, first_id, last_id, after_at, before_at, found_at, repaired_at, how
    FROM trade_gaps
    WHERE exchange = %s AND product_id = %s
      AND coalesce(before_at, repaired_at, 'infinity') >= to_timestamp(%s)
      AND (after_at IS NULL OR after_at < to_timestamp(%s))
    ORDER BY first_id
"""
READ_SERVER = """
    SELECT current_setting('server_version'), now(), candles_storage(),
           pg_notification_queue_usage(), pg_is_in_recovery()
"""
READ_LEASES = """
    SELECT l.shard_index, l.shard_count, l.epoch, l.owner, l.taken_at, EXISTS (
        SELECT FROM pg_locks AS k
        WHERE k.locktype = 'advisory' AND k.granted AND k.objsubid = 2
          AND k.database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND k.classid::bigint = %s::bigint & 4294967295 AND k.objid::bigint = l.shard_index
    )
    FROM shard_leases AS l WHERE l.exchange = %s ORDER BY l.shard_index
"""
# Native only: how far the partitions of each granularity reach without a hole from now on.
READ_PARTITIONS = """
    WITH RECURSIVE leaves AS (
        SELECT w.granularity::text AS granularity, w.days,
               to_date(right(c.relname, 8), 'YYYYMMDD')::timestamp AT TIME ZONE 'UTC' AS first
        FROM candles_widths() AS w
        JOIN pg_inherits AS i ON i.inhparent = to_regclass(quote_ident('candles_' || w.short))
        JOIN pg_class AS c ON c.oid = i.inhrelid
    ), reach AS (
        SELECT granularity, days, first + make_interval(days => days) AS until FROM leaves
        WHERE first <= %(at)s AND first + make_interval(days => days) > %(at)s
        UNION ALL
        SELECT r.granularity, r.days, r.until + make_interval(days => r.days)
        FROM reach AS r JOIN leaves AS l ON l.granularity = r.granularity AND l.first = r.until
    )
    SELECT w.granularity::text, max(r.until)
    FROM candles_widths() AS w LEFT JOIN reach AS r ON r.granularity = w.granularity::text
    GROUP BY w.granularity ORDER BY w.granularity
"""
READ_DAY = """
    SELECT count(*) FILTER (WHERE complete), count(*) FILTER (WHERE complete AND coverage = 'full'),
           count(DISTINCT product_id)
    FROM candles
    WHERE exchange = %s AND granularity = 'ONE_MINUTE' AND start >= %s AND start < %s
"""
