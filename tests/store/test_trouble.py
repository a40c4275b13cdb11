"""What is wrong with the database, in one word."""

import psycopg

from spot.errors import StoreError
from spot.store.trouble import kind_of, text_of


def test_the_first_cause_that_tells_is_named() -> None:
    refused = StoreError("database: no")
    refused.__cause__ = psycopg.errors.ReadOnlySqlTransaction("cannot execute INSERT")
    assert kind_of(refused) == "read-only"
    assert kind_of(psycopg.errors.DiskFull("no space left")) == "full"
    assert kind_of(TimeoutError()) == "away"
    assert kind_of(None) == "away"


def test_an_error_is_one_line() -> None:
    assert text_of(psycopg.OperationalError("a\n  b")) == "a b"
    assert text_of(TimeoutError()) == "TimeoutError"
