"""Both stores, real ones: a SQLite file, and a database of its own in PostgreSQL."""

import itertools
import random

import pytest

from tests.support.durable import database_url, postgresql_server, postgresql_url, prepared
from tests.support.paths import KIT
from tests.support.postgresql import PostgresqlServer
from tests.support.servers import run_server

__all__ = ["database_url", "postgresql_server", "postgresql_url"]


@pytest.fixture
def own_postgresql():
    """A server for one test, which may stop and start it."""
    server = PostgresqlServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def moments():
    """Random moments, by a seed that is told."""
    seed = random.SystemRandom().randrange(1_000_000)
    print(f"seed {seed}")
    return random.Random(seed)


@pytest.fixture
def ledger(tmp_path):
    """The file in which the functions of tests/apps write down their runs."""
    path = tmp_path / "ledger"
    path.touch()
    return path


@pytest.fixture
def tables(request):
    """Those of the kit, where processes are started."""
    return () if "environment" in request.fixturenames else None


@pytest.fixture
def environment(database_url, ledger):
    """What the processes of a test are started with; the database is ready to be used."""
    return prepared(database_url, ledger)


@pytest.fixture
def serve(tmp_path, environment):
    """Serve an extension of tests/apps: ``with serve("--no-worker", SLOW=1) as server``."""
    numbers = itertools.count()

    def serve(*arguments, app="ledger.py", **more):
        log = tmp_path / f"server-{next(numbers)}.log"
        return run_server([KIT, "serve", app, *arguments], log, **{**environment, **more})

    return serve


@pytest.fixture
def work(tmp_path, environment):
    """Start a worker of its own for an extension of tests/apps."""
    numbers = itertools.count()

    def work(*, app="ledger.py", **more):
        log = tmp_path / f"worker-{next(numbers)}.log"
        return run_server([KIT, "worker", app], log, **{**environment, **more})

    return work
