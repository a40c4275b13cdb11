"""Truth after the fact: holes fetched, history backfilled, stored candles verified and explained."""
