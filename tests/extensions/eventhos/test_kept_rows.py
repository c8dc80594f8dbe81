"""Rows kept for accepting: each change of them counts for the next event, whoever makes it; unchanged ones are kept."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from sqlalchemy import delete, insert, select, update

from extensions.eventhos.kept_rows import KeptRows
from extensions.eventhos.tables import changes, clients, contracts, events, keys, systems
from tests.extensions.eventhos.making import KEY, World

ACCEPTED, NO_CONTRACT, WRONG_KEY, NO_EVENT, NO_CLIENT, REVOKED = 200000, 200310, 401202, 400024, 404201, 403201
NOW = datetime.now(UTC)


@pytest.fixture
def sending(world):
    """A producer of which keys, event and contract are kept."""
    world.add_contract("http://localhost/")
    for _ in range(2):
        assert world.send({})["code"] == ACCEPTED
    return world


def change(world, *statements):
    with world.api.database.transaction() as connection:
        for statement in statements:
            connection.execute(statement)


def code(world, status=200):
    return world.send({}, status=status)["code"]


@pytest.mark.parametrize(
    ("statement", "status", "expected"),
    [
        (update(keys).values(revoked_at=NOW), 401, WRONG_KEY),
        (update(keys).values(expires_at=NOW - timedelta(hours=1)), 401, WRONG_KEY),
        (delete(keys), 401, WRONG_KEY),
        (update(clients).values(revoked=True), 403, REVOKED),
        (update(clients).values(deleted=True), 404, NO_CLIENT),
        (update(systems).values(client=None), 404, NO_CLIENT),
        (update(events).values(deleted=True), 400, NO_EVENT),
        (update(events).values(identifier="another"), 400, NO_EVENT),
        (update(contracts).values(active=False), 200, NO_CONTRACT),
        (delete(contracts), 200, NO_CONTRACT),
    ],
    ids=str,
)
def test_a_change_counts_for_the_next_event(sending, statement, status, expected):
    change(sending, statement)
    assert code(sending, status) == expected


def test_what_is_added_counts_for_the_next_event(sending):
    sending.add_contract("http://localhost/")
    sending.send({})
    assert [len(row["state"]) for row in sending.log()] == [2, 1, 1]
    other = World(sending.api, key="another key")
    assert other.send({})["code"] == NO_CONTRACT
    sending.add_event("added")
    assert sending.send({}, identifier="added")["code"] == NO_CONTRACT


def test_a_key_expires_while_it_is_kept(sending):
    change(sending, update(keys).values(expires_at=datetime.now(UTC) + timedelta(hours=1)))
    assert code(sending) == ACCEPTED
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=2)):
        assert code(sending, 401) == WRONG_KEY


@pytest.mark.parametrize("table", [clients, keys, systems, events, contracts], ids=str)
def test_each_table_has_its_triggers(sending, table):
    database = sending.api.database

    def version():
        with database.read() as connection:
            return connection.execute(select(changes.c.version)).scalar_one()

    seen = {version()}
    change(sending, update(table).values(id=table.c.id))
    seen.add(version())
    with database.read() as connection:
        row = connection.execute(select(table)).one()._asdict()
    unique = {name: f"o{row[name]}"[:64] for name in ("identifier", "client_id", "hash") if row.get(name)}
    nullable = {name: None for name in ("client", "subscription") if name in row and table.c[name].nullable}
    change(sending, insert(table).values({**row, "id": 1000, **unique, **nullable}))
    seen.add(version())
    change(sending, delete(table).where(table.c.id == 1000))
    seen.add(version())
    assert len(seen) == 4


def test_a_change_counts_from_its_commit_on(sending, hold_open):
    with hold_open(update(keys).values(revoked_at=NOW)) as commit:
        assert code(sending) == ACCEPTED
        commit()
    assert code(sending, 401) == WRONG_KEY


def test_changes_of_other_rows_do_not_wait_for_each_other(sending, hold_open):
    World(sending.api, key="another key")
    with hold_open(update(clients).where(clients.c.id == sending.client).values(name="one")):
        change(sending, update(clients).where(clients.c.id != sending.client).values(name="other"))


@pytest.fixture
def hold_open(database):
    """Execute a statement, and commit it later: ``with hold_open(statement) as commit: ...; commit()``."""
    if database.is_sqlite:
        pytest.skip("SQLite has one writer at a time")
    return lambda statement: HeldOpen(database, statement)


class HeldOpen:
    """A transaction of another thread, whose statement has been executed."""

    def __init__(self, database, statement):
        self._database = database
        self._statement = statement
        self._executed = threading.Event()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        with self._database.transaction() as connection:
            connection.execute(self._statement)
            self._executed.set()
            self._ending.wait(20)

    def commit(self):
        self._ending.set()
        self._thread.join(20)
        assert not self._thread.is_alive()

    def __enter__(self):
        self._thread.start()
        assert self._executed.wait(20)
        return self.commit

    def __exit__(self, *exception):
        self.commit()


class Kept:
    """Rows that are kept, and a look at them."""

    def __init__(self, world, **options):
        self._rows = KeptRows(**options)
        self._database = world.api.database

    def read(self, *identifiers, keys=(KEY,)):
        with self._database.transaction() as connection:
            return self._rows.read(connection, keys, identifiers)


def without_triggers(database, statement):
    """Execute a statement that nobody is told of."""
    with database.transaction() as connection:
        before = connection.execute(select(changes)).one()
        connection.execute(statement)
        if not database.is_sqlite:
            connection.exec_driver_sql("SET CONSTRAINTS ALL IMMEDIATE")
        connection.execute(update(changes).values(before._asdict()))


def test_what_has_not_changed_is_not_read_again(world):
    world.add_contract("http://localhost/")
    kept = Kept(world)
    found = kept.read(world.identifier)
    for table in (contracts, keys, events):
        without_triggers(world.api.database, delete(table))
    assert kept.read(world.identifier) == found
    assert found[0].keys() == {KEY}
    assert [len(event.contracts) for event in found[1].values()] == [1]
    change(world, update(systems).values(name="changed"))
    assert kept.read(world.identifier) == ({}, {})


def test_wrong_keys_and_unknown_events_are_not_kept(world):
    kept = Kept(world)
    for number in range(100):
        assert kept.read(f"unknown-{number}", keys=[f"wrong-{number}"]) == ({}, {})
    assert kept._rows._kept.size == 0
    without_triggers(world.api.database, update(events).values(identifier="unknown-1"))
    assert kept.read("unknown-1")[1].keys() == {"unknown-1"}


def test_there_is_a_limit(world):
    names = [f"event-{number}" for number in range(20)]
    for name in names:
        world.add_event(name)
    kept = Kept(world, limit=5)
    for name in names:
        assert kept.read(name)[1].keys() == {name}
        assert len(kept._rows._kept.events) <= 6


def test_nothing_is_kept_without_a_version(world):
    kept = Kept(world)
    kept.read(world.identifier)
    change(world, delete(changes))
    assert kept.read(world.identifier)[1].keys() == {world.identifier}
    change(world, delete(events), delete(changes))
    assert kept.read(world.identifier)[1] == {}
