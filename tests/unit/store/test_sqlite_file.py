"""A file that is removed, replaced or cut off while it is open takes nothing more, and what is done then helps."""

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from sqlalchemy import text

from extension_kit.errors import StoreUnavailable
from extension_kit.store.database import Database
from tests.support.databases import opened

REMOVED, REPLACED, LOG = "was removed while", "was replaced while", "lost its write-ahead log"


@pytest.fixture
def used(sqlite: Database) -> Database:
    write(sqlite, 1)
    return sqlite


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    """Another database, with its tables."""
    with opened(f"sqlite:///{tmp_path}/backup.db") as database:
        write(database, 7)
    return tmp_path / "backup.db"


def write(database: Database, number: int) -> None:
    with database.transaction() as connection:
        connection.execute(text("INSERT INTO series VALUES (:key, :key, '2026-01-01 00:00:00')"), {"key": number})


def written(database: Database) -> list[int]:
    with database.read() as connection:
        return list(connection.execute(text("SELECT last_count FROM series ORDER BY 1")).scalars())


def files(path: Path) -> Iterator[Path]:
    for ending in ("", "-wal", "-shm"):
        yield path.with_name(path.name + ending)


def remove(path: Path, backup: Path) -> None:
    for each in files(path):
        each.unlink()


def remove_alone(path: Path, backup: Path) -> None:
    path.unlink()


def remove_log(path: Path, backup: Path) -> None:
    path.with_name(path.name + "-wal").unlink()


def replace_alone(path: Path, backup: Path) -> None:
    backup.replace(path)


def cut_off(path: Path, backup: Path) -> None:
    os.truncate(path, 0)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (remove, REMOVED),
        (remove_alone, REMOVED),
        (remove_log, LOG),
        (replace_alone, REPLACED),
        (cut_off, "was cut off while"),
    ],
)
def test_nothing_is_taken(used: Database, backup: Path, spoil: Callable[[Path, Path], None], message: str) -> None:
    with closing(sqlite3.connect(used.path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    written(used)
    spoil(used.path, backup)
    for act in (used.check_writable, lambda: write(used, 2), lambda: written(used), used.check_writable):
        with pytest.raises(StoreUnavailable, match=f"The database {used.name} {message}"):
            act()


@pytest.mark.parametrize("spoil", [remove, remove_alone, remove_log, replace_alone])
def test_what_is_committed_while_it_goes_is_not_said_to_be_stored(
    used: Database, backup: Path, spoil: Callable[[Path, Path], None]
) -> None:
    with pytest.raises(StoreUnavailable, match="in use"), used.transaction() as connection:  # noqa: PT012
        connection.execute(text("UPDATE series SET last_count = 2"))
        spoil(used.path, backup)


def test_the_same_file_is_back(used: Database, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for each in files(used.path):
        each.rename(elsewhere / each.name)
    with pytest.raises(StoreUnavailable, match=REMOVED):
        write(used, 2)
    for each in elsewhere.iterdir():
        each.rename(tmp_path / each.name)
    write(used, 3)
    assert written(used) == [1, 3]


def test_a_backup_in_its_place_is_opened(used: Database, backup: Path) -> None:
    backup.replace(used.path)
    for each in files(used.path):
        if each != used.path:
            each.unlink()
    with pytest.raises(StoreUnavailable, match="in use: the file that is there now is opened"):
        write(used, 2)
    write(used, 8)
    assert written(used) == [7, 8]
    with opened(f"sqlite:///{used.path}", upgraded=False) as other:
        assert written(other) == [7, 8]


def test_the_log_that_was_removed_is_not_lost(used: Database) -> None:
    """Once nobody has the file open any more."""
    write(used, 2)
    remove_log(used.path, used.path)
    with suppress(StoreUnavailable):
        write(used, 3)
    used.dispose()
    assert {1, 2} <= set(written(used))


def test_pages_that_are_given_back_are_no_harm(used: Database) -> None:
    with used.transaction() as connection:
        for number in range(100):
            row = {"id": number, "body": b"x" * 20_000}
            connection.execute(text("INSERT INTO steps VALUES ('a', :id, :body, '2026-01-01 00:00:00')"), row)
    checkpoint(used)
    size = used.path.stat().st_size
    write(used, 2)
    with used.transaction() as connection:
        connection.execute(text("DELETE FROM steps"))
    used.vacuum(10_000)
    checkpoint(used)
    assert used.path.stat().st_size < size / 2
    write(used, 3)
    assert written(used) == [1, 2, 3]


def test_a_part_is_cut_off(used: Database) -> None:
    with used.transaction() as connection:
        row = {"body": b"x" * 20_000_000}
        connection.execute(text("INSERT INTO steps VALUES ('a', 'a', :body, '2026-01-01 00:00:00')"), row)
    checkpoint(used)
    write(used, 2)
    os.truncate(used.path, used.path.stat().st_size // 8192 * 4096)
    with pytest.raises(StoreUnavailable, match="was cut off"):
        write(used, 3)


def checkpoint(database: Database) -> None:
    with closing(sqlite3.connect(database.path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def test_a_copy_by_name_of_a_file_that_grew(used: Database, tmp_path: Path) -> None:
    """One that is put back in its place is another file, whose log must not be the old one."""
    shutil.copy(used.path, tmp_path / "copy.db")
    (tmp_path / "copy.db").replace(used.path)
    with pytest.raises(StoreUnavailable, match="beside the -wal and -shm of the one before"):
        write(used, 2)
