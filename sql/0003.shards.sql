-- Who may write (shard_leases), how each shard fares (shard_status), what was missed (trade_gaps).

CREATE TABLE shard_leases (
    exchange    text        NOT NULL,
    shard_index integer     NOT NULL CHECK (shard_index >= 0),
    shard_count integer     NOT NULL CHECK (shard_count > 0),
    epoch       bigint      NOT NULL,
    owner       text        NOT NULL,
    taken_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (exchange, shard_index)
);

COMMENT ON TABLE shard_leases IS 'Who may write a shard''s candles: every write transaction checks the epoch, every taker raises it';
COMMENT ON COLUMN shard_leases.exchange IS 'coinbase or simulated';
COMMENT ON COLUMN shard_leases.shard_index IS 'The shard, from 0';
COMMENT ON COLUMN shard_leases.shard_count IS 'How many shards the owner''s fleet has';
COMMENT ON COLUMN shard_leases.epoch IS 'Rises by one with every taker; writes of an older epoch fail';
COMMENT ON COLUMN shard_leases.owner IS 'Host and process of the newest taker, for people';
COMMENT ON COLUMN shard_leases.taken_at IS 'When it took the lease, by the database''s clock';

CREATE TABLE shard_status (
    exchange          text        NOT NULL,
    shard_index       integer     NOT NULL CHECK (shard_index >= 0),
    shard_count       integer     NOT NULL CHECK (shard_count > 0),
    epoch             bigint      NOT NULL,
    pid               integer     NOT NULL,
    host              text        NOT NULL,
    started_at        timestamptz NOT NULL,
    seen_at           timestamptz NOT NULL,
    exchange_at       timestamptz,
    clients           integer     NOT NULL,
    clients_connected integer     NOT NULL,
    products          integer     NOT NULL,
    products_live     integer     NOT NULL,
    gaps_open         integer     NOT NULL,
    rows_written      bigint      NOT NULL,
    rows_pending      integer     NOT NULL,
    last_flush_ms     integer,
    PRIMARY KEY (exchange, shard_index)
) WITH (fillfactor = 50);

COMMENT ON TABLE shard_status IS 'The heartbeat of every shard, rewritten by its owner every second';
COMMENT ON COLUMN shard_status.exchange IS 'coinbase or simulated';
COMMENT ON COLUMN shard_status.shard_index IS 'The shard, from 0';
COMMENT ON COLUMN shard_status.shard_count IS 'How many shards its fleet has';
COMMENT ON COLUMN shard_status.epoch IS 'The lease''s epoch under which it writes';
COMMENT ON COLUMN shard_status.pid IS 'Its process id';
COMMENT ON COLUMN shard_status.host IS 'Its machine';
COMMENT ON COLUMN shard_status.started_at IS 'When the process started, by its own clock';
COMMENT ON COLUMN shard_status.seen_at IS 'When this row was written, by the database''s clock';
COMMENT ON COLUMN shard_status.exchange_at IS 'Newest exchange time it has seen; null before the first frame';
COMMENT ON COLUMN shard_status.clients IS 'WebSocket clients it holds';
COMMENT ON COLUMN shard_status.clients_connected IS 'Of these, connected now';
COMMENT ON COLUMN shard_status.products IS 'Products assigned to it';
COMMENT ON COLUMN shard_status.products_live IS 'Of these, with a first frame on the present connection';
COMMENT ON COLUMN shard_status.gaps_open IS 'Holes in the trade ids not repaired yet';
COMMENT ON COLUMN shard_status.rows_written IS 'Candle rows written since it started';
COMMENT ON COLUMN shard_status.rows_pending IS 'Changed candles that wait to be written';
COMMENT ON COLUMN shard_status.last_flush_ms IS 'How long the newest write took; null before the first';

CREATE TABLE trade_gaps (
    exchange    text        NOT NULL,
    product_id  text        NOT NULL,
    first_id    bigint      NOT NULL,
    last_id     bigint      NOT NULL,
    after_at    timestamptz,
    before_at   timestamptz NOT NULL,
    found_at    timestamptz NOT NULL,
    repaired_at timestamptz,
    how         text,
    PRIMARY KEY (exchange, product_id, first_id),
    CHECK (first_id <= last_id),
    CHECK ((repaired_at IS NULL) = (how IS NULL))
);

COMMENT ON TABLE trade_gaps IS 'Every hole found in the trade ids of a market';
COMMENT ON COLUMN trade_gaps.exchange IS 'coinbase or simulated';
COMMENT ON COLUMN trade_gaps.product_id IS 'The market';
COMMENT ON COLUMN trade_gaps.first_id IS 'First missing trade id';
COMMENT ON COLUMN trade_gaps.last_id IS 'Last missing trade id';
COMMENT ON COLUMN trade_gaps.after_at IS 'Time of the known trade before the hole; null where nothing earlier was known';
COMMENT ON COLUMN trade_gaps.before_at IS 'Time of the known trade after the hole: what is missing happened before it';
COMMENT ON COLUMN trade_gaps.found_at IS 'Exchange time at which the hole was seen';
COMMENT ON COLUMN trade_gaps.repaired_at IS 'Exchange time at which it was mended; null while it is open';
COMMENT ON COLUMN trade_gaps.how IS 'What mended it: trades (found, or fetched by id) or candles (the exchange''s settled minutes)';
