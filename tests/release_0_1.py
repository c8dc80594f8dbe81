"""A database as release 0.1 left it: two subscriptions of tapis, and functions that succeeded, failed and are dead.

The rows of ``data/release-0.1.json`` were written by that release, stopped while deliveries were waiting.
"""

import json
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import text

from extension_kit.store import migrate
from extension_kit.store.database import Database
from extensions.tapis.tables import TABLES
from tests.conftest import DATA

ROWS = json.loads((DATA / "release-0.1.json").read_text())
_VERSIONS = {"extension_kit_version": migrate._MIGRATIONS / "versions", TABLES.version_table: TABLES.versions}


def write_database(url: str, rows: dict[str, list[dict[str, Any]]] = ROWS) -> None:
    """Make the tables of release 0.1 in an empty database, with their rows; jobs are not among them."""
    database = Database(url)
    database.create()
    try:
        with database.transaction() as connection:
            for table, versions in _VERSIONS.items():
                config = Config(attributes={"connection": connection, "version_table": table})
                config.set_main_option("script_location", str(migrate._MIGRATIONS))
                config.set_main_option("path_separator", "newline")
                config.set_main_option("version_locations", str(versions))
                command.upgrade(config, "0001")
            for table, those in rows.items():
                for row in those:
                    names = ", ".join(f'"{name}"' for name in row)
                    values = ", ".join(f":{name}" for name in row)
                    given = {name: _value(value, sqlite=database.is_sqlite) for name, value in row.items()}
                    connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({values})"), given)
                if not database.is_sqlite and "ref" in (those or [{}])[0]:
                    last = max(row["ref"] for row in those)
                    connection.execute(text(f"SELECT setval(pg_get_serial_sequence('{table}', 'ref'), {last})"))
    finally:
        database.dispose()


def _value(value: Any, *, sqlite: bool) -> Any:
    if isinstance(value, dict):
        return value["text"].encode()
    # PostgreSQL reads a literal as the column has it: a time in UTC, a flag, JSON.
    return value if sqlite or value is None else str(value)
