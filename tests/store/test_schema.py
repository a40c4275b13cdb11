"""The migrations: up, down and up again, in both storages; what a program checks at its start."""

from spot.store import schema


def test_migrating_twice_changes_nothing_the_second_time(database_url: str) -> None:
    assert schema.migrate(database_url) == []
    assert all(migration.is_applied for migration in schema.status(database_url))
