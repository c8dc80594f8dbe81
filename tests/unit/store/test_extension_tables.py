"""Tables of extensions: made and upgraded with the kit's own, each with a version of its own."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, inspect, text

from extension_kit.errors import ConfigurationError, NewerSchema, OlderSchema, StoreError
from extension_kit.store import version
from extension_kit.store.database import Database
from extension_kit.store.extension_tables import Tables
from extension_kit.store.migrate import current, extensions_in, upgrade
from tests.support.databases import opened

PROCESSES = 4
FIRST = """
import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table("{name}_jobs", sa.Column("id", sa.Integer, primary_key=True))
"""
SECOND = """
import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("{name}_jobs", sa.Column("text", sa.String(20), server_default="old"))
"""
BROKEN = """
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.drop_table("{name}_jobs")
    raise RuntimeError("nonsense")
"""


@pytest.fixture
def release(tmp_path: Path):
    """Make the tables of a release of an extension, which has so many revisions."""

    def release(*revisions: str, name: str = "echo") -> Tables:
        versions = tmp_path / f"{name}-{len(revisions)} %(versions)s"
        versions.mkdir(exist_ok=True)
        for number, revision in enumerate(revisions, 1):
            (versions / f"{number:04}_change.py").write_text(revision.format(name=name))
        metadata = MetaData()
        Table(f"{name}_jobs", metadata, Column("id", Integer, primary_key=True), Column("text", String(20)))
        return Tables(name, metadata, versions)

    return release


def columns(database: Database, table: str = "echo_jobs") -> list[str]:
    with database.read() as connection:
        return [column["name"] for column in inspect(connection).get_columns(table)]


def test_they_are_made_with_the_others(url: str, release) -> None:
    with opened(url, upgraded=False) as database:
        upgrade(database, [release(FIRST, SECOND), release(FIRST, name="pulp")])

        assert current(database) == version.LATEST
        assert current(database, "extension_kit_version_echo") == "0002"
        assert current(database, "extension_kit_version_pulp") == "0001"
        assert (columns(database), columns(database, "pulp_jobs")) == (["id", "text"], ["id"])
        with database.read() as connection:
            assert extensions_in(connection) == {"echo", "pulp"}


def test_an_upgrade_changes_what_is_there_and_keeps_its_rows(database: Database, release) -> None:
    upgrade(database, [release(FIRST)])
    with database.transaction() as connection:
        connection.execute(text("INSERT INTO echo_jobs (id) VALUES (7)"))

    assert upgrade(database, [release(FIRST, SECOND)]) == [("echo", "0001", "0002")]
    assert upgrade(database, [release(FIRST, SECOND)]) == []

    with database.read() as connection:
        assert connection.execute(text("SELECT id, text FROM echo_jobs")).all() == [(7, "old")]


def test_one_that_comes_later_finds_the_others_as_they_are(database: Database, release) -> None:
    upgrade(database, [release(FIRST)])
    upgrade(database, [release(FIRST, name="pulp")])

    with database.read() as connection:
        assert extensions_in(connection) == {"echo", "pulp"}
    upgrade(database, only_check=True)


def test_a_failure_leaves_everything_as_it_was(database: Database, release) -> None:
    upgrade(database, [release(FIRST)])
    before = columns(database)

    with pytest.raises(RuntimeError, match="nonsense"):
        upgrade(database, [release(FIRST, name="pulp"), release(FIRST, SECOND, BROKEN)])

    assert columns(database) == before
    assert current(database, "extension_kit_version_echo") == "0001"
    with database.read() as connection:
        assert extensions_in(connection) == {"echo"}


def test_a_failure_in_an_empty_database_leaves_it_empty(url: str, release) -> None:
    with opened(url, upgraded=False) as database:
        with pytest.raises(RuntimeError, match="nonsense"):
            upgrade(database, [release(FIRST, SECOND, BROKEN)])

        assert current(database) is None
        with database.read() as connection:
            assert inspect(connection).get_table_names() == []


@pytest.mark.parametrize(
    ("made", "needed", "error", "message"),
    [
        (
            (),
            (FIRST,),
            OlderSchema,
            "has no tables of echo yet: run `extension-kit db upgrade` with the file or module of echo",
        ),
        (
            (FIRST,),
            (FIRST, SECOND),
            OlderSchema,
            "has version 0001 of the tables of echo, and 0002 is needed: "
            "run `extension-kit db upgrade` with the file or module of echo",
        ),
        (
            (FIRST, SECOND),
            (FIRST,),
            NewerSchema,
            "has version 0002 of the tables of echo, and this release knows 0001 at most: "
            "run the release of echo that upgraded it, or a later one",
        ),
    ],
    ids=["missing", "older", "newer"],
)
def test_other_versions_are_refused_with_what_to_do(
    database: Database, release, made: tuple[str, ...], needed: tuple[str, ...], error: type[StoreError], message: str
) -> None:
    upgrade(database, [release(*made)] if made else [])

    with pytest.raises(error) as refused:
        upgrade(database, [release(*needed)], only_check=True)

    assert str(refused.value) == f"The database {database.name} {message}"


def test_tables_of_a_later_release_are_not_touched(database: Database, release) -> None:
    upgrade(database, [release(FIRST, SECOND)])

    with pytest.raises(NewerSchema, match="this release knows 0001 at most"):
        upgrade(database, [release(FIRST, name="pulp"), release(FIRST)])

    assert columns(database) == ["id", "text"]
    with database.read() as connection:
        assert extensions_in(connection) == {"echo"}


def test_the_right_version_passes_the_check(database: Database, release) -> None:
    upgrade(database, [release(FIRST, SECOND)])
    upgrade(database, [release(FIRST, SECOND)], only_check=True)


def test_tables_of_other_software_are_left_alone(database: Database, release) -> None:
    with database.transaction() as connection:
        connection.execute(text("CREATE TABLE echo_jobs (mine INTEGER)"))

    with pytest.raises(StoreError, match="has tables of other software"):
        upgrade(database, [release(FIRST)])

    assert columns(database) == ["mine"]
    assert current(database, "extension_kit_version_echo") is None


def test_it_is_logged_whose_tables_were_upgraded(url: str, release, caplog: pytest.LogCaptureFixture) -> None:
    with opened(url, upgraded=False) as database, caplog.at_level(logging.INFO, "extension_kit.store"):
        upgrade(database, [release(FIRST)])
        name = database.name
    assert [record.getMessage() for record in caplog.records if record.name == "extension_kit.store"] == [
        f"Tables made in database {name}: version {version.LATEST}",
        f"Tables made in database {name}: version 0001 of the tables of echo",
    ]


def test_processes_that_upgrade_at_once(url: str, release) -> None:
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from sqlalchemy import MetaData\n"
        "from extension_kit.store.database import Database\n"
        "from extension_kit.store.migrate import upgrade\n"
        "from extension_kit.store.extension_tables import Tables\n"
        "import alembic.command\n"
        "tables = Tables('echo', MetaData(), Path(sys.argv[2]))\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "upgrade(Database(sys.argv[1]), [tables])\n"
    )
    command = [sys.executable, "-c", program, url, str(release(FIRST, SECOND).versions)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    processes = [subprocess.Popen(command, text=True, **pipes) for _ in range(PROCESSES)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()

    assert [(process.communicate(timeout=60)[1], process.returncode) for process in processes] == [("", 0)] * PROCESSES
    with opened(url, upgraded=False) as database:
        assert current(database, "extension_kit_version_echo") == "0002"
        assert columns(database) == ["id", "text"]


@pytest.mark.parametrize("name", ["", "Echo", "extension-echo", "1st", "e.x", 'e"; DROP TABLE events', "e" * 33])
def test_a_name_that_cannot_be_a_tables_is_refused(name: str, release) -> None:
    versions = release(FIRST).versions
    with pytest.raises(ConfigurationError, match="small letters, digits and _"):
        Tables(name, MetaData(), versions)
    assert Tables("e" * 32, MetaData(), versions).latest == "0001"


@pytest.mark.parametrize("file", [None, "__init__.py", "first.py", "0001.py", "0001_first.sql"])
def test_a_folder_without_revisions_is_refused(tmp_path: Path, file: str | None) -> None:
    if file:
        (tmp_path / file).touch()
    with pytest.raises(ConfigurationError, match=r"echo: there is no revision such as 0001_first\.py in "):
        Tables("echo", MetaData(), tmp_path)


def test_the_newest_revision_is_the_one_that_is_needed(release) -> None:
    assert release(FIRST, SECOND).latest == "0002"
    assert release(FIRST).version_table == "extension_kit_version_echo"
