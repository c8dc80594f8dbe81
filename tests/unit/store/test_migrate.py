"""Upgrades: complete, by one process at a time, and never of what a later release has made."""

import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, inspect, text

from extension_kit.deliveries import inbox_tables
from extension_kit.deliveries.tables import metadata
from extension_kit.errors import NewerSchema, OlderSchema, StoreError, StoreUnavailable
from extension_kit.store import migrate, version
from extension_kit.store.database import Database
from extension_kit.store.migrate import current, upgrade
from tests.support.databases import opened

PROCESSES = 4


def metadatas(database: Database) -> list[MetaData]:
    """The tables of a database; on SQLite the inbox has a file of its own."""
    return [metadata] if database.is_sqlite else [metadata, inbox_tables.metadata]


def set_version(database: Database, number: str) -> None:
    with database.transaction() as connection:
        connection.execute(text(f"UPDATE {version.TABLE} SET version_num = :number"), {"number": number})


def test_an_empty_database_gets_all_tables(url: str) -> None:
    with opened(url, upgraded=False) as database:
        upgrade(database)

        assert current(database) == version.LATEST
        with database.read() as connection:
            made = set(inspect(connection).get_table_names()) - {"sqlite_sequence"}
        assert made == {version.TABLE}.union(*[each.tables for each in metadatas(database)])


def test_migrations_and_models_agree(database: Database) -> None:
    with database.read() as connection:
        ours = {"include_name": lambda name, kind, _: kind != "table" or name != version.TABLE}
        migrated = MigrationContext.configure(connection, opts={"compare_type": True, **ours})
        assert compare_metadata(migrated, metadatas(database)) == []


def test_migrations_and_models_agree_in_what_alembic_does_not_compare(url: str, database: Database) -> None:
    with database.read() as connection:
        migrated = _details(connection, metadatas(database))
    with database.transaction() as connection:
        for each in metadatas(database):
            each.drop_all(connection)
            each.create_all(connection)
    with database.read() as connection:
        assert _details(connection, metadatas(database)) == migrated


def _details(connection: Connection, compared: list[MetaData]) -> dict[str, object]:
    found = inspect(connection)
    return {
        table: (
            found.get_pk_constraint(table)["constrained_columns"],
            found.get_foreign_keys(table),
            found.get_unique_constraints(table),
        )
        for each in compared
        for table in each.tables
    }


def test_the_latest_version_is_that_of_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).with_name("migrations")))
    scripts = ScriptDirectory.from_config(config)

    assert scripts.get_heads() == [version.LATEST]
    versions = [script.revision for script in scripts.walk_revisions()]
    assert versions == sorted(versions, reverse=True)  # they are compared as texts
    assert {len(number) for number in versions} == {4}


def test_an_upgrade_is_idempotent(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute(text("INSERT INTO series (key, last_count, last_at) VALUES ('a', 1, '2026-01-01')"))

    upgrade(database)

    with database.read() as connection:
        assert connection.execute(text("SELECT key FROM series")).scalars().all() == ["a"]


def test_a_file_that_somebody_has_touched_is_an_empty_database(sqlite_url: str, tmp_path: Path) -> None:
    (tmp_path / "extension.db").touch()

    with opened(sqlite_url) as database:
        assert current(database) == version.LATEST


def test_processes_that_upgrade_at_once(url: str) -> None:
    program = (
        "import logging, sys\n"
        "from extension_kit.store.database import Database\n"
        "from extension_kit.store.migrate import upgrade\n"
        "import alembic.command\n"
        "logging.basicConfig(level=logging.INFO, stream=sys.stdout, format='%(message)s')\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "upgrade(Database(sys.argv[1]))\n"
    )
    command = [sys.executable, "-c", program, url]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    processes = [subprocess.Popen(command, text=True, **pipes) for _ in range(PROCESSES)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()

    told = [(*process.communicate(timeout=60), process.returncode) for process in processes]
    assert [(complaints, code) for _, complaints, code in told] == [("", 0)] * PROCESSES
    assert "".join(lines for lines, *_ in told).count("Tables made in database") == 1
    with opened(url, upgraded=False) as database:
        assert current(database) == version.LATEST


@pytest.mark.parametrize("only_check", [True, False])
def test_the_database_of_a_later_release_is_refused(database: Database, only_check: bool) -> None:
    set_version(database, "9999")

    with pytest.raises(NewerSchema) as refused:
        upgrade(database, only_check=only_check)

    assert str(refused.value) == (
        f"The database {database.name} has version 9999, and this release knows {version.LATEST} at most: "
        "run the release of extension-kit that upgraded it, or a later one"
    )
    assert current(database) == "9999"


def test_an_earlier_version_has_to_be_upgraded(database: Database) -> None:
    set_version(database, "0000")

    with pytest.raises(OlderSchema, match=r"has version 0000, and .* is needed: run `extension-kit db upgrade`"):
        upgrade(database, only_check=True)


def test_a_check_makes_no_tables(postgresql_url: str) -> None:
    with opened(postgresql_url, upgraded=False) as database:
        with pytest.raises(OlderSchema, match="has no tables yet: run `extension-kit db upgrade`"):
            upgrade(database, only_check=True)
        assert current(database) is None


def test_a_check_makes_no_file(sqlite_url: str, tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="run `extension-kit db upgrade` if it does not exist"):
        upgrade(Database(sqlite_url), only_check=True)
    assert list(tmp_path.iterdir()) == []


def test_tables_of_other_software_are_left_alone(url: str) -> None:
    with opened(url, upgraded=False) as database:
        database.create()
        with database.transaction() as connection:
            connection.execute(text("CREATE TABLE steps (mine INTEGER)"))

        with pytest.raises(
            StoreError, match=r"has tables of other software .* use a database, or a schema, of its own"
        ):
            upgrade(database)

        with database.read() as connection:
            assert inspect(connection).get_table_names() == ["steps"]


def test_a_number_is_never_given_again(database: Database) -> None:
    add = text("INSERT INTO events (source, event_id, name, received_at, body) VALUES ('s', :id, 'n', :at, '')")
    refs = []
    for event_id in ("a", "b"):
        with database.transaction() as connection:
            connection.execute(add, {"id": event_id, "at": "2026-01-01 00:00:00"})
            refs.append(connection.execute(text("DELETE FROM events RETURNING ref")).scalar_one())

    assert refs[0] < refs[1]
