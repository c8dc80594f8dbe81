"""All rows arrive in the other database, and numbers go on from where they were."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, Sequence, String, Table, delete, func, insert, select

from extension_kit.deliveries.outbox import Outbox
from extension_kit.deliveries.requeue import requeue
from extension_kit.deliveries.shards import shard_of
from extension_kit.deliveries.tables import (
    CLAIMED,
    DEAD,
    DELIVERED,
    READY,
    WAITING,
    actions,
    attempts,
    deliveries,
    events,
    metadata,
    paused_receivers,
    series,
    state,
    steps,
    subscription_patterns,
    subscriptions,
    sums,
    workers,
)
from extension_kit.store.copying import copy_rows, row_counts
from extension_kit.store.database import Database
from tests.support.databases import opened
from tests.support.past_events import NOW, add_event
from tests.support.recording import all_of, change, entry


@pytest.fixture(params=["sqlite to postgresql", "postgresql to sqlite"])
def pair(request: pytest.FixtureRequest, sqlite_url: str, postgresql_url: str) -> Iterator[tuple[Database, Database]]:
    with opened(sqlite_url) as sqlite, opened(postgresql_url) as postgresql:
        yield (sqlite, postgresql) if request.param.startswith("sqlite") else (postgresql, sqlite)


def fill(database: Database) -> None:
    """Rows in every table, with what is hard to copy: bytes, texts of any script, nothing, gaps in the numbers."""
    for number in range(5):
        add_event(database, f"{number}", DELIVERED, DEAD, WAITING, body=bytes(range(256)) * 10)
    with database.transaction() as connection:
        connection.execute(delete(events).where(events.c.event_id.in_(["1", "4"])))
        connection.execute(
            insert(events).values(source="\u00fc", event_id="\U0001f600", name="n", received_at=NOW, body=b"")
        )
        connection.execute(delete(events).where(events.c.source == "\u00fc"))
        connection.execute(insert(series).values(key="t/\u4e00", last_count=2**40, last_at=NOW))
        value = {"value": b'"\xc3\xbc"', "updated_at": NOW, "expires_at": NOW}
        connection.execute(insert(state).values({**value, "extension": "oncall", "key": "\u4e00"}))
        added = {"number": 0.1, "updated_at": NOW, "expires_at": NOW}
        connection.execute(insert(sums).values({**added, "extension": "oncall", "key": "\u4e00"}))
        connection.execute(insert(steps).values(run="t/1", step_id="a", body=b"\x00\xff", seen_at=NOW))
        row = {"protocol": "p", "sender": "http", "created_at": NOW}
        target = {"url": "http://x", "headers": {"a": ["ü", None, 1.5, True]}}
        rich = {**row, "name": "a", "target": target, "retry": [1, 2.5], "expires_at": NOW}
        connection.execute(insert(subscriptions).values(rich))
        connection.execute(insert(subscriptions).values({**row, "name": "b", "target": {}, "enabled": False}))
        wanted = {"subscription_ref": 1, "subject": "\u00e4", "scope": ""}
        connection.execute(insert(subscription_patterns), [{**wanted, "pattern": "*"}, {**wanted, "pattern": "a.b"}])
        connection.execute(insert(paused_receivers).values(listener="l", paused_at=NOW, paused_by="ü"))
        worker = {"key": "w", "host": "h", "pid": 1, "started_at": NOW, "seen_at": NOW, "threads": 16, "busy": 0}
        connection.execute(insert(workers).values({**worker, "open_circuits": [{"receiver": "l", "until": "ü"}]}))
        action = {"kind": "replay", "made_by": "ü", "filter": "", "expected": 2**40, "changed": 1, "skipped": 0}
        connection.execute(insert(actions).values({**action, "started_at": NOW, "seen_at": NOW}))


def content(database: Database) -> dict[str, list[dict[str, Any]]]:
    """All rows of all tables; times without the zone that only one of the stores keeps."""
    with database.read() as connection:
        return {
            table.name: [
                {name: value.replace(tzinfo=None) if hasattr(value, "tzinfo") else value for name, value in row.items()}
                for row in connection.execute(select(table).order_by(*table.primary_key)).mappings()
            ]
            for table in metadata.sorted_tables
        }


def copy(source: Database, target: Database, batch: int = 100) -> list[int]:
    told: list[int] = []
    with source.read() as reading, target.transaction() as writing:
        copy_rows(reading, writing, metadata, told.append, batch)
    return told


def test_everything_is_copied(pair: tuple[Database, Database]) -> None:
    source, target = pair
    fill(source)

    told = copy(source, target, batch=2)

    assert all(content(source).values())
    assert content(target) == content(source)
    assert max(told) == 2
    with target.read() as connection:
        counts = row_counts(connection, metadata)
    others = {"series": 1, "state": 1, "sums": 1, "subscriptions": 2, "subscription_patterns": 2, "steps": 1}
    of_event_log = {"paused_receivers": 1, "workers": 1, "actions": 1}
    assert counts == {"events": 3, "deliveries": 9, "attempts": 9, **others, **of_event_log}
    assert sum(told) == sum(counts.values())


def test_deliveries_are_put_into_the_shards_of_the_other_store(pair: tuple[Database, Database]) -> None:
    source, target = pair
    outbox = Outbox(source)
    outbox.record([entry(f"{number}", "one", "two", series=f"t/{number % 5}") for number in range(20)])
    outbox.record([entry(f"free-{number}") for number in range(20)])
    change(source, [3], stage=CLAIMED, claimed_at=NOW)
    change(source, [4], status=DEAD, stage=None, ended_at=NOW)
    copy(source, target)
    with target.transaction() as connection:
        requeue(connection, from_elsewhere=True)

    rows = all_of(target)
    places = [shard_of(row.lock, row.listener, row.event_ref, is_sqlite=target.is_sqlite) for row in rows]
    assert [row.shard for row in rows] == places
    assert len(set(places)) > 5 or target.is_sqlite
    assert {(row.status, row.stage, row.claimed_at) for row in rows} == {(WAITING, READY, None), (DEAD, None, None)}


def test_numbers_go_on_from_where_they_were_even_if_the_last_were_removed(pair: tuple[Database, Database]) -> None:
    source, target = pair
    fill(source)
    copy(source, target)

    refs = [add_event(database, "next", WAITING) for database in (source, target)]

    assert refs == [7, 7]
    for table in (deliveries, attempts, subscriptions, actions):
        with source.read() as ours, target.read() as theirs:
            highest = select(table.c.ref).order_by(table.c.ref.desc()).limit(1)
            assert ours.execute(highest).scalar() == theirs.execute(highest).scalar()


def test_an_empty_database_is_copied_too(pair: tuple[Database, Database]) -> None:
    source, target = pair

    assert copy(source, target) == []
    assert add_event(target, "first", WAITING) == 1


def test_one_state_is_copied(pair: tuple[Database, Database]) -> None:
    """What comes in meanwhile is not half there."""
    source, target = pair
    fill(source)
    before = content(source)

    with source.read() as reading, target.transaction() as writing:
        row_counts(reading, metadata)
        add_event(source, "late", WAITING)
        copy_rows(reading, writing, metadata, lambda rows: None)

    assert content(target) == before


# Tables as extensions have them: numbers without autoincrement, with it, of a sequence of its own, and none.
others = MetaData()


def table(name: str, number: Column[int] | None, **options: bool) -> Table:
    key = [] if number is None else [number]
    return Table(f"echo_{name}", others, *key, Column("name", String(20), primary_key=number is None), **options)


jobs = table("jobs", Column("id", Integer, primary_key=True))
kept = table("kept", Column("id", Integer, primary_key=True), sqlite_autoincrement=True)
own = table("own", Column("id", Integer, Sequence("echo_numbers"), primary_key=True))
given = table("given", Column("id", Integer, primary_key=True, autoincrement=False))
named = table("named", None)


class TestTablesOfExtensions:
    @pytest.fixture(autouse=True)
    def made(self, pair: tuple[Database, Database]) -> None:
        for database in pair:
            with database.transaction() as connection:
                others.create_all(connection)

    @staticmethod
    def add(database: Database, table: Table, *names: str, **values: int) -> list[int]:
        with database.transaction() as connection:
            made = insert(table).returning(table.c.id)
            return [connection.execute(made.values(name=name, **values)).scalar_one() for name in names]

    @staticmethod
    def copy(source: Database, target: Database) -> None:
        with source.read() as reading, target.transaction() as writing:
            copy_rows(reading, writing, others, lambda rows: None)

    @pytest.mark.parametrize("table", [jobs, kept, own])
    def test_numbers_go_on(self, pair: tuple[Database, Database], table: Table) -> None:
        source, target = pair
        assert self.add(source, table, "a", "b", "c") == [1, 2, 3]
        self.copy(source, target)
        if table is own:  # nothing says which sequence it takes its numbers from
            return
        assert self.add(target, table, "d") == [4]

    def test_a_number_that_was_removed_is_given_again_only_where_it_always_is(
        self, pair: tuple[Database, Database]
    ) -> None:
        source, target = pair
        for table in (jobs, kept):
            self.add(source, table, "a", "b", "c")
            with source.transaction() as connection:
                connection.execute(delete(table).where(table.c.id == 3))
        self.copy(source, target)
        assert self.add(target, kept, "d") == [4]
        # SQLite without autoincrement does not remember the third, neither its own nor one that was copied to it.
        assert self.add(target, jobs, "d") == [3]

    @pytest.mark.parametrize("table", [jobs, kept])
    def test_there_and_back_again_numbers_do_not_collide(self, pair: tuple[Database, Database], table: Table) -> None:
        source, target = pair
        self.add(source, table, "a", "b")
        self.copy(source, target)
        assert self.add(target, table, "c", "d") == [3, 4]
        with source.transaction() as connection:
            connection.execute(delete(table))
        self.copy(target, source)
        assert self.add(source, table, "e") == [5]
        with source.read() as connection:
            names = connection.execute(select(table.c.name).order_by(table.c.id)).scalars().all()
        assert names == ["a", "b", "c", "d", "e"]

    def test_numbers_that_were_given_by_hand_count_too(self, pair: tuple[Database, Database]) -> None:
        source, target = pair
        for table in (jobs, kept):
            self.add(source, table, "a", id=40)
        self.copy(source, target)
        assert [self.add(target, table, "b") for table in (jobs, kept)] == [[41], [41]]

    def test_tables_without_such_numbers_are_copied_too(self, pair: tuple[Database, Database]) -> None:
        source, target = pair
        self.add(source, given, "a", id=7)
        with source.transaction() as connection:
            connection.execute(insert(named).values(name="b"))
        self.copy(source, target)
        with target.read() as connection:
            counts = row_counts(connection, others)
            assert connection.execute(select(func.sum(given.c.id))).scalar_one() == 7
        assert {name: count for name, count in counts.items() if count} == {"echo_given": 1, "echo_named": 1}

    def test_an_empty_table_begins_at_one(self, pair: tuple[Database, Database]) -> None:
        source, target = pair
        self.copy(source, target)
        assert [self.add(target, table, "a") for table in (jobs, kept)] == [[1], [1]]
