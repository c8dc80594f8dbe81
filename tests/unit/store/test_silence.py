"""A database that does not answer, instead of failing: everybody hears of it within a bound, and when it is back."""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import psycopg
import pytest
from click.testing import CliRunner
from sqlalchemy import text

from extension_kit.cli import commands
from extension_kit.cli import database as commands_database
from extension_kit.errors import StoreSilent, StoreUnavailable
from extension_kit.store import deadline
from extension_kit.store.database import Database
from extension_kit.store.postgresql import BoundedAsyncConnection
from tests.support.databases import opened
from tests.support.proxies import Proxy, proxy
from tests.support.waiting import wait_until

TIMEOUT = 1.0


@pytest.fixture
def way(postgresql_url: str) -> Iterator[Proxy]:
    """A way to PostgreSQL that can hang."""
    with opened(postgresql_url), proxy(postgresql_url) as made:
        yield made


@pytest.fixture
def hanging(way: Proxy) -> Iterator[Database]:
    database = Database(way.url, timeout=TIMEOUT)
    yield database
    database.dispose()


def write(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute(text("UPDATE series SET last_count = 0"))


def read(database: Database) -> None:
    with database.read() as connection:
        connection.execute(text("SELECT count(*) FROM series")).scalar_one()


def took(act: Callable[[], object]) -> float:
    began = time.monotonic()
    act()
    return time.monotonic() - began


def test_a_lock_of_others_is_no_silence(way: Proxy, hanging: Database) -> None:
    with closing(psycopg.connect(way.url.replace("+psycopg", ""))) as other:
        other.execute("LOCK TABLE series IN EXCLUSIVE MODE")
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="is busy") as raised:
                write(hanging)
            assert not isinstance(raised.value, StoreSilent)
            read(hanging)  # what needs no such lock goes on


@pytest.mark.parametrize("act", [write, read, Database.check_writable])
@pytest.mark.parametrize("when", ["connected", "connecting"])
def test_it_is_said_within_the_time(way: Proxy, hanging: Database, act: Callable[[Database], None], when: str) -> None:
    if when == "connected":
        act(hanging)

    def fail() -> None:
        with pytest.raises(StoreSilent, match=r"does not answer \(no answer within 1 s\)|cannot be reached"):
            act(hanging)

    with way.hanging():
        assert took(fail) < 10 * TIMEOUT
        connections = way.connections
        for _ in range(100):  # while it is known, nobody waits, and nothing is tried
            fail()
        assert way.connections <= connections + 2

    wait_until(lambda: answers(hanging))
    act(hanging)


def answers(database: Database) -> bool:
    try:
        database.check_writable()
    except StoreUnavailable:
        return False
    return True


def test_it_hangs_in_the_middle(way: Proxy, hanging: Database) -> None:
    with way.hanging(), pytest.raises(StoreSilent):
        hang_in_the_middle(way, hanging)
    wait_until(lambda: answers(hanging))


def hang_in_the_middle(way: Proxy, database: Database) -> None:
    way._open.set()
    with database.transaction() as connection:
        connection.execute(text("UPDATE series SET last_count = 0"))
        way._open.clear()
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.execute("SELECT 1")  # past SQLAlchemy, as events are stored


def test_what_is_long_by_its_nature_is_waited_for(hanging: Database) -> None:
    with deadline.patiently(), hanging.read() as connection:
        connection.execute(text(f"SELECT pg_sleep({1.5 * TIMEOUT})"))
    with pytest.raises(StoreSilent), hanging.read() as connection:
        connection.execute(text("SELECT pg_sleep(20)"))


def test_what_is_refused_is_no_silence(hanging: Database) -> None:
    for _ in range(2):
        with pytest.raises(psycopg.errors.DivisionByZero), hanging.transaction() as connection:  # noqa: PT012
            driver = connection.connection.driver_connection
            assert driver is not None
            driver.execute("SELECT 1 / 0")
    write(hanging)


def test_a_command_says_so(way: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands_database, "_ANSWER", TIMEOUT)
    monkeypatch.setenv("EXTENSION_DATABASE_URL", way.url)
    with way.hanging():
        for command in (["db", "status"], ["deliveries", "list"]):
            ended = CliRunner().invoke(commands, command)
            assert ended.exit_code == 1, ended.output
            assert ended.output.startswith("Error: The database postgresql://")


def test_a_connection_for_asyncio(way: Proxy) -> None:
    async def ask() -> None:
        connection = await BoundedAsyncConnection.connect(way.url, autocommit=True)
        connection.patience = TIMEOUT
        await connection.execute("SELECT 1")
        with way.hanging(), pytest.raises(psycopg.OperationalError, match="no answer within 1 s"):
            await connection.execute("SELECT 1")
        assert connection.closed

    asyncio.run(asyncio.wait_for(ask(), 30))


def test_a_file_that_another_process_does_not_let_go(sqlite_url: str) -> None:
    with opened(sqlite_url):
        database = Database(sqlite_url, timeout=TIMEOUT)
    with closing(sqlite3.connect(database.path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreSilent, match="is locked: another process has been writing for too long"):
            write(database)
        connections = took(lambda: refused(database, 100))
        assert connections < 50 * TIMEOUT
        other.execute("ROLLBACK")
    wait_until(lambda: answers(database))
    write(database)
    database.dispose()


def refused(database: Database, times: int) -> None:
    for _ in range(times):
        with pytest.raises(StoreSilent):
            write(database)
