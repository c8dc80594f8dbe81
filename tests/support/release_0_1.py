"""Databases as earlier releases left them. Release 0.1: two subscriptions of tapis, functions that failed and are dead.

The rows of ``data/release-0.1.json`` were written by that release, stopped while deliveries were waiting.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from extension_kit.store import migrate
from extension_kit.store.database import Database
from extensions.tapis.tables import TABLES
from tests.support.paths import DATA

ROWS = json.loads((DATA / "release-0.1.json").read_text())
_VERSIONS = {"extension_kit_version": migrate._MIGRATIONS / "versions", TABLES.version_table: TABLES.versions}


def write_database(url: str, rows: dict[str, list[dict[str, Any]]] = ROWS) -> None:
    """Make the tables of release 0.1 in an empty database, with their rows; jobs are not among them."""
    with _made(url, "0001", _VERSIONS) as (database, connection):
        for table, those in rows.items():
            for row in those:
                given = {name: _value(value, sqlite=database.is_sqlite) for name, value in row.items()}
                insert_row(connection, table, given)
            if not database.is_sqlite and "ref" in (those or [{}])[0]:
                last = max(row["ref"] for row in those)
                connection.execute(text(f"SELECT setval(pg_get_serial_sequence('{table}', 'ref'), {last})"))


@contextmanager
def version_0002(url: str) -> Iterator[Connection]:
    """Make the kit's tables as they were before the deliveries were the queue, and a transaction to fill them."""
    with _made(url, "0002", {"extension_kit_version": _VERSIONS["extension_kit_version"]}) as (_, connection):
        yield connection


def insert_row(connection: Connection, table: str, values: Mapping[str, Any]) -> None:
    """Write a row by the columns that a table had then."""
    names = ", ".join(f'"{name}"' for name in values)
    given = ", ".join(f":{name}" for name in values)
    connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({given})"), values)


@contextmanager
def _made(url: str, revision: str, versions: Mapping[str, Path]) -> Iterator[tuple[Database, Connection]]:
    database = Database(url)
    database.create()
    try:
        with database.transaction() as connection:
            for table, folder in versions.items():
                config = Config(attributes={"connection": connection, "version_table": table})
                config.set_main_option("script_location", str(migrate._MIGRATIONS))
                config.set_main_option("path_separator", "newline")
                config.set_main_option("version_locations", str(folder))
                command.upgrade(config, revision)
            yield database, connection
    finally:
        database.dispose()


def _value(value: Any, *, sqlite: bool) -> Any:
    if isinstance(value, dict):
        return value["text"].encode()
    # PostgreSQL reads a literal as the column has it: a time in UTC, a flag, JSON.
    return value if sqlite or value is None else str(value)
