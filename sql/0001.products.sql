-- The markets of every exchange Spot stores: one row each, kept up to date by the fleet.

CREATE TABLE products (
    exchange        text        NOT NULL,
    product_id      text        NOT NULL,
    base_currency   text        NOT NULL,
    quote_currency  text        NOT NULL,
    status          text        NOT NULL,
    price_increment numeric     NOT NULL,
    base_increment  numeric     NOT NULL,
    alias           text,
    is_disabled     boolean     NOT NULL DEFAULT false,
    venue           text        NOT NULL,
    active          boolean     NOT NULL,
    updated_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (exchange, product_id)
);

COMMENT ON TABLE products IS 'Markets, one row each; a market that vanishes from the exchange stays with active = false';
COMMENT ON COLUMN products.exchange IS 'Where the market is: coinbase, or simulated (prices that are not real)';
COMMENT ON COLUMN products.product_id IS 'The exchange''s name of the market, like BTC-USD';
COMMENT ON COLUMN products.base_currency IS 'What is traded; candles.volume counts it';
COMMENT ON COLUMN products.quote_currency IS 'What is paid with; prices count it';
COMMENT ON COLUMN products.status IS 'The exchange''s word, like online or delisted';
COMMENT ON COLUMN products.price_increment IS 'Smallest step of a price, in the quote currency';
COMMENT ON COLUMN products.base_increment IS 'Smallest step of a size, in the base currency';
COMMENT ON COLUMN products.alias IS 'The product whose book this one shares (BTC-USDC: BTC-USD); such a product has no candles of its own';
COMMENT ON COLUMN products.is_disabled IS 'The exchange has switched trading off';
COMMENT ON COLUMN products.venue IS 'The exchange''s code of the venue; SIMULATED for the simulated exchange';
COMMENT ON COLUMN products.active IS 'Online, enabled, no alias and still listed: the fleet keeps its candles';
COMMENT ON COLUMN products.updated_at IS 'When this row last changed, by the database''s clock';
