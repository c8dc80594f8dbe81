"""A database that does not answer, instead of failing: everybody hears of it within a bound, and when it is back."""

import asyncio
import os
import shutil
import socket
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from sqlalchemy import make_url, text

from extension_kit.cli import commands
from extension_kit.cli import database as commands_database
from extension_kit.errors import StoreError, StoreSilent, StoreUnavailable
from extension_kit.store import deadline
from extension_kit.store.database import Database
from extension_kit.store.postgresql import BoundedAsyncConnection
from tests.support.databases import opened
from tests.support.proxies import Proxy, proxy
from tests.support.servers import free_port
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


class TestPooler:
    """A connection pooler hands one session's settings, locks and notifications to others: it is refused in words."""

    ADVICE = "PgBouncer or another connection pooler, which is not supported: name the host and port of the PostgreSQL"

    def test_that_passes_settings_on(self, postgresql_url: str) -> None:
        with proxy(postgresql_url, pooler=True) as pooler:
            database = Database(pooler.url)
            for act in (write, read, Database.check_writable):
                with pytest.raises(StoreError, match=self.ADVICE):
                    act(database)

    def test_a_mere_proxy_is_none(self, postgresql_url: str) -> None:
        with opened(postgresql_url), proxy(postgresql_url) as way:
            read(database := Database(way.url))
            database.dispose()

    @pytest.mark.parametrize("mode", ["session", "transaction"])
    @pytest.mark.parametrize("ignored", ["extra_float_digits", "extra_float_digits,options"])
    def test_pgbouncer_itself(self, postgresql: str, mode: str, ignored: str) -> None:
        with pgbouncer(postgresql, pool_mode=mode, ignore_startup_parameters=ignored) as url:
            database = Database(url)
            with pytest.raises(StoreError, match=self.ADVICE):
                read(database)


@contextmanager
def pgbouncer(server: str, **settings: str) -> Iterator[str]:
    """The URL of a database behind PgBouncer."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.skip("PgBouncer is not installed")
    parsed = make_url(server)
    if not parsed.host:
        pytest.skip("the server is reached by a socket that only its owner may use: set TEST_POSTGRESQL_URL")
    port = free_port()
    options = {
        "listen_addr": "127.0.0.1",
        "listen_port": port,
        "unix_socket_dir": "",
        "auth_type": "any",
        **settings,
    }
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        path = Path(directory, "pgbouncer.ini")
        lines = [
            f"* = host={parsed.host} port={parsed.port or 5432} user={parsed.username or 'postgres'}",
            "[pgbouncer]",
        ]
        path.write_text("\n".join(["[databases]", *lines, *(f"{name} = {value}" for name, value in options.items())]))
        Path(directory).chmod(0o755)
        user: Any = {"user": "nobody"} if os.geteuid() == 0 else {}  # it refuses to be run by root
        with subprocess.Popen(
            [program, "-q", str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **user
        ) as process:
            try:
                wait_until(lambda: listens(port))
                yield f"postgresql://{parsed.username or 'postgres'}@127.0.0.1:{port}/{parsed.database}"
            finally:
                process.terminate()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
