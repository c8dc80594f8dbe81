"""Both stores, the extension as users serve it, and what its targets hold."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from tests.support.durable import database_url, postgresql_server, postgresql_url
from tests.support.ready_made import server_of
from tests.support.used import postgresql_database

__all__ = ["database_url", "postgresql_server", "postgresql_url"]

_IDS = "SELECT id FROM audit_events"


@pytest.fixture
def tables():
    """Those of the kit alone."""
    return ()


@pytest.fixture(params=["files", "sqlite", "postgresql"])
def target(request, tmp_path):
    """The URL of a target that needs nothing but this machine."""
    if request.param == "files":
        yield f"file://{tmp_path}/a folder".replace(" ", "%20")
    elif request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/audit.db"
    else:
        with postgresql_database(request.getfixturevalue("postgresql_server"), None) as url:
            yield url


@pytest.fixture
def kept_ids(target, tmp_path):
    """Return the ids of the kept events, each as often as it is kept."""

    def read():
        if target.startswith("file:"):
            files = Path(tmp_path / "a folder").glob("*.jsonl")
            return [json.loads(line)["id"] for file in files for line in file.read_bytes().splitlines()]
        if target.startswith("sqlite:"):
            with closing(sqlite3.connect(target.removeprefix("sqlite:///"))) as connection:
                return [row[0] for row in connection.execute(_IDS)]
        with psycopg.connect(target.replace("+psycopg", "")) as connection:
            return [row[0] for row in connection.execute(_IDS)]

    return read


@pytest.fixture
def serve(tmp_path, database_url):
    """Serve the extension: ``with serve(EXTENSION_AUDIT_TARGET="file:///...") as server``."""
    return server_of("audit", database_url, tmp_path, {})
