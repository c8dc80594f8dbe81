"""Transactions on both stores, in threads and processes, and what becomes of them when the database fails."""

import errno
import multiprocessing
import os
import resource
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from unittest.mock import patch

import psycopg
import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from extension_kit.errors import NewerSchema, OlderSchema, SettingError, StoreError, StoreUnavailable
from extension_kit.store import engines, version
from extension_kit.store import sqlite as sqlite_module
from extension_kit.store.database import Database
from extension_kit.store.folder_flush import flush_folder
from tests.support.databases import opened
from tests.support.disks import small_disk
from tests.support.flushes import folders_flushed
from tests.support.servers import free_port

NOBODY = 65534
CHANGE = text("UPDATE series SET last_count = last_count + 1 WHERE key = 'a'")
READ = text("SELECT last_count FROM series WHERE key = 'a'")


@pytest.fixture
def counter(database: Database) -> Database:
    """A database with a number in it: 0."""
    return with_counter(database)


def with_counter(database: Database) -> Database:
    with database.transaction() as connection:
        connection.execute(text("INSERT INTO series (key, last_count, last_at) VALUES ('a', 0, '2026-01-01 00:00:00')"))
    return database


def count(database: Database) -> int:
    with database.read() as connection:
        return int(connection.execute(READ).scalar_one())


def increase(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute(CHANGE)


def with_option(url: str, option: str) -> str:
    parsed = make_url(url)
    options = f"{parsed.query['options']} -c{option}"
    return parsed.update_query_dict({"options": options}).render_as_string(hide_password=False)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("sqlite:///./extension.db", f"sqlite:///{Path.cwd()}/extension.db"),
        ("sqlite:////var/lib/extension.db", "sqlite:////var/lib/extension.db"),
        ("postgresql://h/d", "postgresql://h/d"),
        ("postgres://u:hush@h:5433/d", "postgresql://u:***@h:5433/d"),
        ("postgresql+psycopg://u:h%40sh@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u@/d?host=/run/postgresql&password=hush&sslmode=require", "postgresql://u@/d"),
        ("postgresql://u:hu:s/h?@h/d", "postgresql://u:***@h/d"),
    ],
)
def test_names_keep_secrets(url: str, name: str) -> None:
    assert Database(url).name == name


@pytest.mark.parametrize(
    "url",
    [
        "",
        "extension.db",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///file:x?mode=memory&uri=true",
        "postgresql://",
        "postgresql://u:hush@h:port/d",
        "postgresql://u:x@hush@h/d",
        "postgresql://u:x@/hush@h/d",
    ],
)
def test_urls_that_cannot_be_used(url: str) -> None:
    with pytest.raises(SettingError) as refused:
        Database(url)

    assert str(refused.value) == (
        "this database URL cannot be used: sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE "
        "(in the password, @ is %40) is allowed"
    )
    assert "hush" not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("sqlite+aiosqlite:///x.db", "+aiosqlite names a driver that is not used here: write sqlite:///FILE"),
        ("postgresql+asyncpg://u:hush@h/d", "+asyncpg names a driver that is not used here: write postgresql://USER"),
        ("postgres+psycopg2://u:hush@h/d", "+psycopg2 names a driver that is not used here: write postgresql://USER"),
        ("postgresql://u:hush@h/d?no_option=1", "no_option is no parameter of PostgreSQL's: leave it out"),
        ("postgresql://u:hush@h/d?hu%20sh=1", "one of its parameters is no parameter of PostgreSQL's: leave it out"),
        ("postgresql://h/d?schema=a", "schema is no parameter of PostgreSQL's: write ?options=-csearch_path%3DNAME"),
        ("postgresql://h/d?currentSchema=a", "currentSchema is no parameter of PostgreSQL's: write ?options=-csearch"),
        ("postgresql://h/d?pgbouncer=true", "pgbouncer is no parameter of PostgreSQL's: leave it out, as poolers"),
        ("postgresql://h/d?sslmode=require&ssl=1", "ssl is no parameter of PostgreSQL's: write ?sslmode=require"),
        ("postgresql://u:hush@h1:5432,h2:5432/d", "several hosts with ports are written postgresql://USER:PASSWORD@/"),
        ("postgresql://u:hush@h1,h2:5432,h3/d", "several hosts with ports are written postgresql://USER:PASSWORD@/"),
    ],
)
def test_urls_whose_mistake_is_named(url: str, reason: str) -> None:
    with pytest.raises(SettingError) as refused:
        Database(url)

    assert str(refused.value).startswith(f"this database URL cannot be used: {reason}")
    assert "hush" not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize(
    "advised", ["?options=-csearch_path%3DNAME", "?sslmode=prefer", ",h2/d", "?host=h1:1&host=h2:2"]
)
def test_urls_that_are_advised_can_be_used(advised: str) -> None:
    Database(f"postgresql://u:hush@{advised}" if "/" in advised else f"postgresql://u:hush@/d{advised}")


def test_a_transaction_is_committed_or_leaves_nothing_behind(counter: Database) -> None:
    increase(counter)
    with suppress(ZeroDivisionError), counter.transaction() as connection:
        connection.execute(CHANGE)
        _ = 1 / 0

    assert count(counter) == 1


def test_reading_sees_one_state_and_keeps_nobody_from_writing(counter: Database) -> None:
    with counter.read() as connection:
        before = connection.execute(READ).scalar()
        increase(counter)
        assert connection.execute(READ).scalar() == before
    assert count(counter) == before + 1


def test_threads_that_write_to_sqlite_take_turns(sqlite: Database) -> None:
    with_counter(sqlite)

    def read_and_write() -> None:
        with sqlite.transaction() as connection:
            found = connection.execute(READ).scalar_one()
            connection.execute(text("UPDATE series SET last_count = :new"), {"new": found + 1})

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: read_and_write(), range(100)))

    assert count(sqlite) == 100


def test_more_threads_than_connections(counter: Database) -> None:
    with ThreadPoolExecutor(40) as threads:
        list(threads.map(lambda _: increase(counter), range(200)))

    assert count(counter) == 200


def test_a_writer_gets_its_turn_beside_a_process_that_writes_without_a_pause(sqlite: Database) -> None:
    with_counter(sqlite)
    context = multiprocessing.get_context("spawn")
    ready, stop = context.Event(), context.Event()
    other = context.Process(target=_write_without_a_pause, args=(sqlite.path, ready, stop))
    other.start()
    try:
        assert ready.wait(30)
        for _ in range(50):
            increase(sqlite)
    finally:
        stop.set()
        other.join(30)

    assert other.exitcode == 0
    assert count(sqlite) == 50


def _write_without_a_pause(path: Path, ready: threading.Event, stop: threading.Event) -> None:
    with closing(sqlite_module.connect(path)) as connection:
        while not stop.is_set():
            sqlite_module.begin(connection)
            connection.execute("INSERT INTO steps VALUES ('run', hex(randomblob(9)), zeroblob(1000), '2026-01-01')")
            connection.commit()
            ready.set()


def in_fork(what: Callable[[], None]) -> None:
    """Do something in a forked process, and see that it succeeds."""
    if (child := os.fork()) == 0:
        try:
            what()
            os._exit(0)
        finally:
            traceback.print_exc()
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_forked_process_has_connections_of_its_own(counter: Database) -> None:
    parents = counter.engine

    def child() -> None:
        assert counter.engine is not parents
        increase(counter)
        assert count(counter) == 2
        counter.dispose()

    increase(counter)
    in_fork(child)
    increase(counter)

    assert count(counter) == 3


def test_a_process_forked_in_a_transaction(postgresql_url: str) -> None:
    with opened(postgresql_url) as database:
        with_counter(database)
        with database.transaction() as connection:
            connection.execute(CHANGE)
            in_fork(lambda: database.check_writable())
            connection.execute(CHANGE)

        assert count(database) == 2


def test_nobody_takes_the_log_of_a_forked_process_away(sqlite: Database) -> None:
    """Who closes a file last removes its log, and knows from its locks whether others have it open."""
    with_counter(sqlite)
    log = sqlite.path.with_name(f"{sqlite.path.name}-wal")

    def child() -> None:
        increase(sqlite)
        before = log.stat().st_ino
        parent_closes.set()
        assert others_have_closed.wait(30)
        assert log.stat().st_ino == before

    context = multiprocessing.get_context("fork")
    parent_closes, others_have_closed = context.Event(), context.Event()
    process = context.Process(target=child)
    process.start()
    assert parent_closes.wait(30)
    sqlite.dispose()
    closing_last = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('SELECT * FROM series')"
    subprocess.run([sys.executable, "-c", closing_last, sqlite.path], check=True)
    others_have_closed.set()
    process.join(30)

    assert process.exitcode == 0


def test_a_database_can_be_used_again_after_it_was_closed(counter: Database) -> None:
    counter.dispose()
    counter.dispose()
    increase(counter)

    assert count(counter) == 1


def test_what_breaks_a_rule_is_not_a_failure_of_the_database(counter: Database) -> None:
    again = text("INSERT INTO series (key, last_count, last_at) VALUES ('a', :number, '2026-01-01 00:00:00')")
    with pytest.raises(IntegrityError) as refused, counter.transaction() as connection:
        connection.execute(again, {"number": 424242})

    assert "424242" not in str(refused.value)  # what is written may be secret


def test_a_statement_that_is_wrong_is_not_a_failure_of_the_database(database: Database) -> None:
    with pytest.raises(DBAPIError), database.transaction() as connection:
        connection.execute(text("SELEKT 1"))


def test_a_file_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    with opened(f"sqlite:///{tmp_path}/data/a %23?b.db".replace("?", "%3F")) as database:
        increase(with_counter(database))
        assert stat.S_IMODE(database.path.parent.stat().st_mode) == 0o700
        files = list(database.path.parent.iterdir())
        assert {path.name for path in files} == {f"{database.path.name}{ending}" for ending in ("", "-wal", "-shm")}
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_no_power_failure_loses_the_name_of_a_file_or_of_its_folders(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/a/b/extension.db")
    with folders_flushed() as flushed:
        database.create()
        assert sorted(flushed) == [
            (tmp_path, {"a"}),
            (tmp_path / "a", {"b"}),
            (tmp_path / "a" / "b", {"extension.db"}),
        ]
        flushed.clear()
        database.create()
        assert flushed == []


def test_a_folder_that_cannot_be_flushed_keeps_no_file_from_being_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    flush_folder(tmp_path / "file" / "folder")
    with patch.object(os, "fsync", side_effect=OSError(errno.EINVAL, "Invalid argument")):
        Database(f"sqlite:///{tmp_path}/extension.db").create()
    assert (tmp_path / "extension.db").exists()


def test_the_mode_of_a_file_that_exists_is_kept(sqlite_url: str, tmp_path: Path) -> None:
    (tmp_path / "extension.db").touch(mode=0o640)

    with opened(sqlite_url):
        assert stat.S_IMODE((tmp_path / "extension.db").stat().st_mode) == 0o640


def test_a_relative_path_means_the_directory_of_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    database = Database("sqlite:///./extension.db")
    monkeypatch.chdir("/")

    assert database.path == tmp_path / "extension.db"


@pytest.mark.parametrize(
    ("pragma", "value"),
    [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1), ("auto_vacuum", 2), ("busy_timeout", 0)],
)
def test_every_connection_to_sqlite_is_set_up(sqlite: Database, pragma: str, value: object) -> None:
    with sqlite.transaction() as first, sqlite.read() as second:
        for connection in (first, second):
            assert connection.execute(text(f"PRAGMA {pragma}")).scalar() == value


def test_commits_wait_for_the_disk_unless_they_need_not(url: str) -> None:
    for flush, expected in ((True, {2, "on"}), (False, {1, "off"})):
        with opened(url) as made:
            made.dispose()
        database = Database(url, flush=flush)
        shown = "PRAGMA synchronous" if database.is_sqlite else "SHOW synchronous_commit"
        with database.transaction() as connection:
            assert connection.execute(text(shown)).scalar() in expected
        database.dispose()


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("enable_seqscan", "off"),
        ("default_transaction_isolation", "read committed"),
        ("application_name", "extension-kit"),
        ("statement_timeout", "30s"),
        ("lock_timeout", "4s"),
        ("jit", "off"),
        ("idle_in_transaction_session_timeout", "1min"),
        ("timezone", "UTC"),
        ("transaction_isolation", "read committed"),
        ("transaction_read_only", "off"),
    ],
)
def test_every_connection_to_postgresql_is_set_up(postgresql_url: str, setting: str, value: str) -> None:
    with opened(postgresql_url, upgraded=False) as database, database.transaction() as connection:
        assert connection.execute(text(f"SHOW {setting}")).scalar() == value


def test_what_the_url_says_comes_first(postgresql_url: str) -> None:
    url = with_option(postgresql_url, "statement_timeout=7s") + "&application_name=oncall"
    with opened(url, upgraded=False) as database, database.read() as connection:
        assert connection.execute(text("SHOW statement_timeout")).scalar() == "7s"
        assert connection.execute(text("SHOW lock_timeout")).scalar() == "4s"
        assert connection.execute(text("SHOW application_name")).scalar() == "oncall"


def test_a_database_that_can_be_written(database: Database) -> None:
    with database.read() as connection:
        size = text("SELECT page_count FROM pragma_page_count") if database.is_sqlite else text("SELECT 1")
        before = connection.execute(size).scalar()

    for _ in range(50):
        database.check_writable()

    with database.read() as connection:
        assert connection.execute(size).scalar() == before


def test_a_database_without_tables_cannot_be_written(url: str) -> None:
    with opened(url, upgraded=False) as database:
        database.create()
        with pytest.raises(OlderSchema, match="lacks tables: run `extension-kit db upgrade`"):
            database.check_writable()


@pytest.mark.parametrize(("number", "error"), [("0000", OlderSchema), ("9999", NewerSchema)])
def test_a_database_of_another_release_cannot_be_written(
    database: Database, number: str, error: type[StoreError]
) -> None:
    with database.transaction() as connection:
        connection.execute(text(f"UPDATE {version.TABLE} SET version_num = :number"), {"number": number})

    with pytest.raises(error):
        database.check_writable()


def fails(database: Database, message: str) -> StoreUnavailable:
    """Try to write in every way, and return why it cannot be."""
    with pytest.raises(StoreUnavailable) as failed:
        increase(database)
    with pytest.raises(StoreUnavailable) as checked:
        database.check_writable()
    assert str(checked.value) == str(failed.value)
    assert str(failed.value).startswith(f"The database {database.name} {message}")
    assert "\n" not in str(failed.value)
    return failed.value


@contextmanager
def others_writing(database: Database) -> Iterator[None]:
    """Another connection writes, and does not end."""
    if database.is_sqlite:
        with closing(sqlite3.connect(database.path, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield
    else:
        locked = text(f"LOCK TABLE series, {version.TABLE} IN EXCLUSIVE MODE")
        with opened(database.url.render_as_string(False), upgraded=False) as other, other.transaction() as connection:
            connection.execute(locked)
            yield


@pytest.fixture
def impatient(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A database that does not wait long for others."""
    monkeypatch.setattr(sqlite_module, "WAIT", 0.2)
    monkeypatch.setitem(engines._POOL, "pool_timeout", 0.2)
    monkeypatch.setitem(engines._POOL, "pool_size", 2)
    monkeypatch.setitem(engines._POOL, "max_overflow", 0)
    with opened(url if url.startswith("sqlite") else with_option(url, "lock_timeout=200ms")) as database:
        yield with_counter(database)


def test_others_write_for_too_long(impatient: Database) -> None:
    with others_writing(impatient):
        error = fails(impatient, "is locked: " if impatient.is_sqlite else "is busy: others have been writing")
        assert error.retry_after == 1
        assert count(impatient) == 0

    impatient.check_writable()
    increase(impatient)
    assert count(impatient) == 1


def test_a_thread_of_this_process_writes_to_sqlite_for_too_long(
    sqlite: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_module, "WAIT", 0.2)
    with_counter(sqlite)
    with sqlite.transaction():
        error = fails(sqlite, "is busy: another thread")
    assert error.retry_after == 1
    increase(sqlite)


def test_all_connections_are_in_use(impatient: Database) -> None:
    busy = "is busy: all connections of this process are in use"
    with (
        impatient.transaction(),
        impatient.read(),
        pytest.raises(StoreUnavailable, match=busy) as failed,
        impatient.read(),
    ):
        pass
    assert failed.value.retry_after == 1
    increase(impatient)


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory that other users may look into."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextmanager
def unprivileged() -> Iterator[None]:
    """For root, no file is unwritable."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("unwritable", ["file and directory", "directory"])
def test_without_write_access(directory: Path, unwritable: str) -> None:
    with opened(f"sqlite:///{directory}/extension.db") as database:
        with_counter(database)
        database.dispose()
        database.path.chmod(0o444 if unwritable == "file and directory" else 0o666)
        directory.chmod(0o555)

        with unprivileged():
            error = fails(database, "cannot be ")
            database.dispose()
        assert "give this user write access to the file and its directory" in str(error)

        database.path.chmod(0o666)
        directory.chmod(0o777)
        with unprivileged():
            increase(database)
            database.dispose()


def test_a_directory_that_cannot_be_made(directory: Path) -> None:
    directory.chmod(0o555)
    with unprivileged(), pytest.raises(StoreUnavailable, match=r"cannot be created: Permission denied"):
        Database(f"sqlite:///{directory}/data/extension.db").create()
    directory.chmod(0o755)


def test_a_directory_in_place_of_the_file(tmp_path: Path) -> None:
    with opened(f"sqlite:///{tmp_path}", upgraded=False) as database:
        fails(database, "cannot be opened: run `extension-kit db upgrade` if it does not exist")


def test_a_file_that_is_no_database(sqlite_url: str, tmp_path: Path) -> None:
    (tmp_path / "extension.db").write_bytes(b"secret, but no database" * 1000)
    with opened(sqlite_url, upgraded=False) as database:
        error = fails(database, "is no SQLite file: name another one")
    assert "secret" not in str(error)


def test_a_full_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "1m") as disk, opened(f"sqlite:///{disk}/extension.db") as database:
        with_counter(database)
        (disk / "other").write_bytes(b"x" * 600_000)
        error, kept = store_until_it_fails(database)
        assert "cannot grow: the disk is full" in str(error)
        assert kept > 0
        with pytest.raises(StoreUnavailable, match="cannot grow: the disk is full"):
            rewrite_until_it_fails(database)
        assert stored(database) == kept

        (disk / "other").unlink()

        database.check_writable()
        store(database, kept)
        assert stored(database) == kept + 1


def store(database: Database, number: int) -> None:
    with database.transaction() as connection:
        row = {"id": number, "body": b"x" * 10_000, "at": "2026-01-01 00:00:00"}
        connection.execute(text("INSERT INTO steps (run, step_id, body, seen_at) VALUES ('a', :id, :body, :at)"), row)


def stored(database: Database) -> int:
    with database.read() as connection:
        return int(connection.execute(text("SELECT count(*) FROM steps")).scalar_one())


def store_until_it_fails(database: Database) -> tuple[StoreUnavailable, int]:
    """Why, and after how many."""
    for number in range(1000):
        try:
            store(database, number)
        except StoreUnavailable as error:
            return error, number
    raise AssertionError("there is more room than thought")


def rewrite_until_it_fails(database: Database) -> None:
    """Make writes so small that there may be room for some of them where there is none for others."""
    for _ in range(1000):
        database.check_writable()


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Files of this process cannot grow beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_quota(sqlite: Database) -> None:
    with largest_file(400_000):
        error, kept = store_until_it_fails(sqlite)
        assert "cannot be read or written: see that the disk works, and has room" in str(error)
        assert kept > 0
        assert stored(sqlite) == kept

    sqlite.check_writable()
    store(sqlite, kept)
    assert stored(sqlite) == kept + 1


def test_a_server_that_is_not_there() -> None:
    database = Database(f"postgresql://u:hush@127.0.0.1:{free_port()}/d")

    error = fails(database, "cannot be reached (")

    assert "onnection refused" in str(error)
    assert "hush" not in "".join(traceback.format_exception(error))


def test_a_database_that_is_not_there(postgresql: str) -> None:
    missing = make_url(postgresql).set(database="no_such_database").render_as_string(hide_password=False)

    error = fails(Database(missing), "cannot be reached (")

    assert 'database "no_such_database" does not exist' in str(error)


def test_a_server_that_only_reads(postgresql_url: str) -> None:
    with opened(postgresql_url) as writable:
        with_counter(writable)
    with opened(with_option(postgresql_url, "default_transaction_read_only=on"), upgraded=False) as database:
        fails(database, "is read-only: name the primary server")


def _end_connections(postgresql: str) -> None:
    """What a restart of the server does to them."""
    with psycopg.connect(postgresql) as connection:
        others = "FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"
        connection.execute(f"SELECT pg_terminate_backend(pid, 5000) {others} AND application_name = 'extension-kit'")


def test_a_connection_that_was_dropped_while_idle(postgresql: str, postgresql_url: str) -> None:
    with opened(postgresql_url) as database:
        with_counter(database)
        _end_connections(postgresql)

        increase(database)

        assert count(database) == 1


def test_a_connection_that_is_dropped_in_a_transaction(postgresql: str, postgresql_url: str) -> None:
    with opened(postgresql_url) as database:
        with_counter(database)

        with pytest.raises(StoreUnavailable) as failed, database.transaction() as connection:  # noqa: PT012
            connection.execute(CHANGE)
            _end_connections(postgresql)
            connection.execute(CHANGE)

        assert str(failed.value).startswith(f"The database {database.name} is being restarted or shut down")
        increase(database)
        assert count(database) == 1


def test_a_connection_that_is_dropped_before_the_commit(postgresql: str, postgresql_url: str) -> None:
    with opened(postgresql_url) as database:
        with_counter(database)

        with pytest.raises(StoreUnavailable), database.transaction() as connection:  # noqa: PT012
            connection.execute(CHANGE)
            _end_connections(postgresql)

        assert count(database) == 0


def test_a_statement_that_takes_too_long(postgresql_url: str) -> None:
    database = Database(with_option(postgresql_url, "statement_timeout=100ms"))
    with pytest.raises(StoreUnavailable, match="is busy"), database.read() as connection:
        connection.execute(text("SELECT pg_sleep(20)"))
    database.dispose()
