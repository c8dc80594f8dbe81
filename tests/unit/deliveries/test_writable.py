"""Whether events can be stored is found out by doing what an event needs, and nothing stays of it."""

import pytest
from sqlalchemy import text

from extension_kit.deliveries.outbox import Outbox
from extension_kit.deliveries.subscription_matching import matching
from extension_kit.errors import StoreError
from tests.support.recording import entry, rows, stored

TABLES = ["events", "series", "steps", "subscriptions", "deliveries"]


@pytest.fixture
def outbox(database):
    return Outbox(database, matching)


def change(database, *statements):
    with database.transaction() as connection:
        for statement in statements:
            connection.execute(text(statement))


def trigger(database, table):
    """The statements that have every new row of a table refused."""
    if database.is_sqlite:
        return [f"CREATE TRIGGER strict BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'not today'); END"]
    return [
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not today'; END $$",
        f"CREATE TRIGGER strict BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION refuse()",
    ]


def test_nothing_stays_of_it(database, outbox):
    for _ in range(3):
        outbox.check_writable(attempts=True)
    assert rows(database, *TABLES, "attempts") == [0] * (len(TABLES) + 1)
    outbox.record([entry("1")])
    with database.read() as connection:
        assert connection.execute(text("SELECT event_ref, ref FROM deliveries")).one() == (1, 1)
    assert len(stored(database)) == 1


@pytest.mark.parametrize("table", [*TABLES, "attempts"])
def test_a_table_is_gone(database, outbox, table):
    change(database, f"ALTER TABLE {table} RENAME TO elsewhere")
    with pytest.raises(StoreError):
        outbox.check_writable(attempts=True)
    change(database, f"ALTER TABLE elsewhere RENAME TO {table}")
    outbox.check_writable(attempts=True)


@pytest.mark.parametrize("table", [table for table in TABLES if table != "subscriptions"])
def test_a_trigger_refuses_rows(database, outbox, table):
    change(database, *trigger(database, table))
    with pytest.raises(
        StoreError, match=r"refuses to store an event \(not today\): check the changes made to its tables"
    ):
        outbox.check_writable()
    if table in ("events", "deliveries"):
        with pytest.raises(StoreError, match="refuses to store an event"):
            outbox.record([entry("1")])


def test_a_column_is_gone(database, outbox):
    change(database, "ALTER TABLE events RENAME COLUMN body TO content")
    with pytest.raises(StoreError):
        outbox.check_writable()


def test_attempts_do_not_matter_to_who_only_takes_events(database, outbox):
    change(database, "ALTER TABLE attempts RENAME TO elsewhere")
    outbox.check_writable()
