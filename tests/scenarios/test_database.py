"""The database as its owner meets it: made, looked at, moved from a file to a server."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import insert, make_url, select, text, update

from extension_kit.deliveries.entries import Entry
from extension_kit.deliveries.inbox import Accepted, Inbox
from extension_kit.deliveries.outbox import Outbox
from extension_kit.deliveries.tables import DEAD, DELIVERED, deliveries, events
from extension_kit.store.database import Database
from extension_kit.store.migrate import upgrade
from extension_kit.store.version import LATEST, TABLE
from extensions.tapis.tables import TABLES as TAPIS
from tests.support.commands import extension_kit
from tests.support.databases import opened, postgresql_schema, postgresql_server
from tests.support.filing import filed_at
from tests.support.open_files import open_files
from tests.support.paths import APPS, BIN
from tests.support.recording import queued
from tests.support.release_0_1 import write_database
from tests.support.used import postgresql_database

Done = subprocess.CompletedProcess[str]
PASSWORD = "hush"
ROOT = Path(__file__).parents[2]
ECHO = str(APPS / "echo.py")
"""An extension with a table of its own."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgresql_server() as server, postgresql_database(server) as url:
        yield url


@pytest.fixture
def postgresql_url(server: str) -> Iterator[str]:
    """The URL of an empty database, with a password, which the server does not ask for."""
    with postgresql_schema(server) as url:
        yield make_url(url).set(password=PASSWORD).render_as_string(hide_password=False)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/extension.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(f"{request.param}_url"))


def db(*arguments: str, url: str | None = None, by: Callable[..., Done] = extension_kit) -> Done:
    done = by("db", *arguments, **({"EXTENSION_DATABASE_URL": url} if url else {}))
    assert PASSWORD not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def process(*arguments: str, **variables: str) -> Done:
    """The same in a process of its own, as people run it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EXTENSION_")} | variables
    command = [BIN / "extension-kit", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def lines(done: Done) -> dict[str, str]:
    return dict(line.split(maxsplit=1) for line in done.stdout.splitlines())


def record(url: str, *series: str) -> None:
    """What a server does for events that come in; each is for two listeners."""
    with opened(url, upgraded=False) as database:
        upgrade(database)
        Outbox(database).record(
            [
                Entry("steadybit", f"{number}", "n", None, None, b"{}", key, ("oncall:page", "oncall:log"))
                for number, key in enumerate(series)
            ]
        )


def accept(url: str, *names: str) -> None:
    """What a server does for events that come in while no worker runs."""
    with opened(url, upgraded=False) as database:
        inbox = Inbox(database)
        inbox.prepare()
        for name in names:
            inbox.append([Accepted(json.dumps({"id": name, "eventName": "a.b"}).encode(), ("oncall:page",))])
        inbox.close()


def change(url: str, **values: object) -> None:
    """Give the first delivery an end."""
    with opened(url, upgraded=False) as database, database.transaction() as connection:
        first = select(deliveries.c.ref).order_by(deliveries.c.ref).limit(1).scalar_subquery()
        connection.execute(update(deliveries).where(deliveries.c.ref == first).values({"stage": None, **values}))


def test_a_new_database(url: str) -> None:
    upgraded, again = db("upgrade", url=url, by=process), db("upgrade", url=url)
    status = db("status", url=url, by=process)

    assert (upgraded.returncode, again.returncode, status.returncode) == (0, 0, 0)
    name = Database(url).name
    latest = f"The database {name} has version {LATEST}, which is the latest.\n"
    assert again.stdout == latest
    assert upgraded.stdout == f"Made the tables of the kit: version {LATEST}.\n{latest}"
    assert lines(status)["database"] == name
    assert lines(status)["version"] == f"{LATEST} (the latest)"
    assert lines(status)["events"] == lines(status)["waiting"] == lines(status)["dead"] == "0"


def test_without_a_setting_it_is_a_file_in_the_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert db("upgrade").returncode == 0

    assert (tmp_path / "extension.db").exists()


def test_the_status_counts(url: str) -> None:
    record(url, "a", "b", "b")
    change(url, status=DEAD, ended_at=datetime.now(UTC))

    found = lines(db("status", url=url))

    assert {name: found[name] for name in ("events", "series", "deliveries", "waiting", "dead")} == {
        "events": "3",
        "series": "2",
        "deliveries": "6",
        "waiting": "5",
        "dead": "1",
    }


def test_the_status_counts_what_is_not_filed_yet(url: str) -> None:
    record(url, "a")
    accept(url, "one", "two")

    found = lines(db("status", url=url))

    assert (found["events"], found["deliveries"], found["unfiled"]) == ("1", "2", "2")
    assert filed_at(url) == 2
    found = lines(db("status", url=url))
    assert (found["events"], found["deliveries"], found["unfiled"]) == ("3", "4", "0")


def test_commands_leave_no_file_of_the_inbox_open(sqlite_url: str, tmp_path: Path) -> None:
    def open_inboxes() -> list[str]:
        return [path for path in open_files("-inbox") if str(tmp_path) in path]  # other tests have some, too

    record(sqlite_url, "a")
    accept(sqlite_url, "one")

    for command in (["db", "upgrade"], ["db", "status"], ["deliveries", "list"]):
        assert extension_kit(*command, EXTENSION_DATABASE_URL=sqlite_url).returncode == 0
        assert open_inboxes() == []
    for code in (0, 1):  # the second time the target is not empty
        assert db("copy", sqlite_url, f"sqlite:///{tmp_path}/copy.db").returncode == code
        assert open_inboxes() == []


@pytest.mark.parametrize("command", ["status", "upgrade"])
def test_a_later_release_has_upgraded_it(url: str, command: str) -> None:
    db("upgrade", url=url)
    with opened(url, upgraded=False) as database, database.transaction() as connection:
        connection.execute(text(f"UPDATE {TABLE} SET version_num = '9999'"))

    done = db(command, url=url)

    assert (done.returncode, done.stdout) == (1, "")
    assert "has version 9999, and this release knows" in done.stderr
    assert done.stderr.count("\n") == 1


def test_there_is_none_yet(url: str) -> None:
    with opened(url, upgraded=False) as database:
        database.create()

    done = db("status", url=url)

    assert (done.returncode, done.stdout) == (1, "")
    assert "run `extension-kit db upgrade`" in done.stderr
    assert done.stderr.count("\n") == 1


def test_in_another_directory_nobody_is_advised_to_make_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    done = db("status")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"Error: There is no database {tmp_path}/extension.db: run this in the directory where the extension runs, "
        "or set EXTENSION_DATABASE_URL to its database\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_relative_path_is_shown_as_an_absolute_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "extension.db").write_text("no database at all, but long enough to be read as the head of one" * 20)

    done = db("status")

    assert f"The database sqlite:///{tmp_path}/extension.db is no SQLite file" in done.stderr


def test_the_server_is_down() -> None:
    done = db("upgrade", url=f"postgresql://u:{PASSWORD}@127.0.0.1:1/d", by=process)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: The database postgresql://u:***@127.0.0.1:1/d cannot be reached (")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["copy"],
        ["copy", "sqlite:///a.db"],
        ["copy", "sqlite:///a.db", "sqlite:///./a.db"],
        ["copy", "sqlite:///a.db", f"mysql://u:{PASSWORD}@h/d"],
        ["repair"],
    ],
)
def test_bad_usage(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    done = db(*arguments)

    assert (done.returncode, done.stdout) == (2, "")
    assert list(tmp_path.iterdir()) == []


def test_an_unusable_setting() -> None:
    done = db("upgrade", url=f"mysql://u:{PASSWORD}@h/d", by=process)

    assert done.returncode == 2
    assert done.stderr.startswith("extension-kit: EXTENSION_DATABASE_URL cannot be used: mysql is not supported, ")
    assert PASSWORD not in done.stderr


@pytest.fixture(params=["sqlite to postgresql", "postgresql to sqlite"])
def pair(request: pytest.FixtureRequest, sqlite_url: str, postgresql_url: str) -> tuple[str, str]:
    return (sqlite_url, postgresql_url) if request.param.startswith("sqlite") else (postgresql_url, sqlite_url)


def test_moving_to_another_database(pair: tuple[str, str]) -> None:
    old, new = pair
    record(old, "a", "b", "b")
    change(old, status=DELIVERED, ended_at=datetime.now(UTC))

    done = db("copy", old, new, by=process)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        f"Copied 11 rows to {Database(new).name}, where 5 deliveries wait now.\n"
        "Set EXTENSION_DATABASE_URL to it before you start the extension again.\n"
    )
    before, after = lines(db("status", url=old)), lines(db("status", url=new))
    assert {**after, "database": "", "room": ""} == {**before, "database": "", "room": ""}
    with opened(new, upgraded=False) as database:
        assert len(queued(database)) == 5
        # An event that the old database had already is known, and numbers go on.
        again = Entry("steadybit", "1", "n", None, None, b"{}", "b", ("oncall:page",))
        assert Outbox(database).record([again]) == 0
        with database.transaction() as connection:
            new_event = {"source": "s", "event_id": "new", "name": "n", "body": b"", "received_at": datetime.now(UTC)}
            assert connection.execute(insert(events).values(new_event).returning(events.c.ref)).scalar_one() > 3


def test_a_database_that_is_not_empty_is_not_copied_to(pair: tuple[str, str]) -> None:
    old, new = pair
    record(old, "a", "b")
    record(new, "a")

    done = db("copy", old, new)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"Error: The database {Database(new).name} is not empty: name another one\n"
    assert lines(db("status", url=new))["events"] == "1"


def test_events_that_are_not_filed_are_filed_in_the_copy(pair: tuple[str, str], tmp_path: Path) -> None:
    old, new = pair
    record(old, "a")
    accept(old, "one", "two", "0")  # the last is in the tables of events, too

    done = db("copy", old, new, by=process)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        f"Copied 4 rows to {Database(new).name}, where 2 deliveries wait now.\n"
        "Filed 3 events that had not been filed yet.\n"
        "Set EXTENSION_DATABASE_URL to it before you start the extension again.\n"
    )
    found = lines(db("status", url=new))
    assert (found["events"], found["deliveries"], found["unfiled"]) == ("3", "4", "0")
    assert lines(db("status", url=old))["unfiled"] == "3"
    with opened(new, upgraded=False) as database, database.read() as connection:
        ids = connection.execute(select(events.c.event_id).order_by(events.c.ref)).scalars().all()
    assert ids == ["0", "one", "two"]
    if new.startswith("sqlite"):
        assert list(tmp_path.glob("*-inbox*")) == []


def test_events_that_are_not_filed_are_enough_not_to_be_empty(pair: tuple[str, str]) -> None:
    old, new = pair
    record(old, "a")
    db("upgrade", url=new)
    accept(new, "one")

    done = db("copy", old, new)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"Error: The database {Database(new).name} is not empty: name another one\n"
    assert lines(db("status", url=new))["unfiled"] == "1"


def test_a_database_that_is_not_there_is_not_copied(pair: tuple[str, str]) -> None:
    old, new = pair

    done = db("copy", old, new)

    assert (done.returncode, done.stdout) == (1, "")
    assert "There is no database " in done.stderr or "run `extension-kit db upgrade`" in done.stderr
    assert db("status", url=new).returncode == 1


class TestExtensionsWithTables:
    def say(self, url: str, *words: str) -> None:
        """Write rows as the extension does; they get the next numbers."""
        with opened(url, upgraded=False) as database, database.transaction() as connection:
            for word in words:
                added = text("INSERT INTO echo_said (event_id, said) VALUES (:id, :said)")
                connection.execute(added, {"id": f"id of {word}", "said": word})

    def said(self, url: str) -> list[tuple[int, str]]:
        with opened(url, upgraded=False) as database, database.read() as connection:
            return [tuple(row) for row in connection.execute(text("SELECT id, said FROM echo_said ORDER BY id"))]

    def test_their_tables_are_made_with_the_others(self, url: str) -> None:
        upgraded, again = db("upgrade", ECHO, url=url, by=process), db("upgrade", ECHO, url=url)

        name = Database(url).name
        assert (upgraded.returncode, upgraded.stderr, again.returncode) == (0, "", 0)
        latest = f"The database {name} has version {LATEST}, which is the latest.\n"
        made = f"Made the tables of the kit: version {LATEST}.\nMade the tables of echo: version 0001.\n"
        assert upgraded.stdout == f"{made}{latest}"
        assert again.stdout == f"{latest}The tables of echo are up to date.\n"
        assert self.said(url) == []
        others = db("upgrade", url=url)
        assert others.returncode == 0
        assert others.stdout == f"{latest}The tables of echo were left as they are: name their extensions, too.\n"

    def test_they_may_come_later(self, url: str) -> None:
        db("upgrade", url=url)
        record(url, "a")

        assert db("upgrade", ECHO, url=url).returncode == 0

        assert self.said(url) == []
        assert lines(db("status", url=url))["events"] == "1"

    def test_an_upgrade_says_from_which_version_to_which(self, url: str) -> None:
        write_database(url)
        tapis = str(ROOT / "extensions/tapis")

        done = db("upgrade", ECHO, tapis, url=url)

        assert done.returncode == 0, done.stderr
        assert done.stdout == (
            f"Upgraded the tables of the kit: version 0001 to {LATEST}.\n"
            "Made the tables of echo: version 0001.\n"
            f"Upgraded the tables of tapis: version 0001 to {TAPIS.latest}.\n"
            f"The database {Database(url).name} has version {LATEST}, which is the latest.\n"
        )

    def test_a_file_that_cannot_be_loaded_changes_nothing(self, tmp_path: Path, sqlite_url: str) -> None:
        (tmp_path / "broken_echo.py").write_text("import nonsense")

        done = db("upgrade", str(tmp_path / "broken_echo.py"), url=sqlite_url)

        assert (done.returncode, done.stdout) == (2, "")
        assert "No module named 'nonsense'" in done.stderr
        assert done.stderr.count("\n") == 1
        assert not (tmp_path / "extension.db").exists()

    def test_they_move_with_the_rest(self, pair: tuple[str, str]) -> None:
        old, new = pair
        db("upgrade", ECHO, url=old)
        record(old, "a")
        self.say(old, "one", "two", "three")

        done = db("copy", old, new, ECHO)

        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"Copied 7 rows to {Database(new).name}, where 2 deliveries wait now.\n")
        self.say(new, "four")
        assert self.said(new) == [*enumerate(["one", "two", "three", "four"], 1)]

    def test_there_and_back_again(self, pair: tuple[str, str], tmp_path: Path) -> None:
        old, new = pair
        db("upgrade", ECHO, url=old)
        self.say(old, "one")
        assert db("copy", old, new, ECHO).returncode == 0
        self.say(new, "two", "three")
        third = f"sqlite:///{tmp_path}/third.db"

        assert db("copy", new, third, ECHO).returncode == 0

        self.say(third, "four")
        assert [word for _, word in self.said(third)] == ["one", "two", "three", "four"]

    def test_one_that_is_not_named_is_not_left_behind_in_silence(self, pair: tuple[str, str]) -> None:
        old, new = pair
        db("upgrade", ECHO, url=old)

        done = db("copy", old, new)

        assert (done.returncode, done.stdout) == (2, "")
        name = Database(old).name
        assert done.stderr == f"extension-kit: {name} has tables of echo: name their extensions behind the URLs\n"
        assert db("status", url=new).returncode == 1

    def test_one_that_has_no_tables_there_is_asked_to_make_them(self, pair: tuple[str, str]) -> None:
        old, new = pair
        db("upgrade", url=old)

        done = db("copy", old, new, ECHO)

        assert (done.returncode, done.stdout) == (1, "")
        assert (
            "has no tables of echo yet: run `extension-kit db upgrade` with the file or module of echo" in done.stderr
        )
        assert db("status", url=new).returncode == 1

    def test_rows_in_its_tables_are_enough_not_to_be_empty(self, pair: tuple[str, str]) -> None:
        old, new = pair
        for database in pair:
            db("upgrade", ECHO, url=database)
        self.say(new, "one")

        done = db("copy", old, new, ECHO)

        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"Error: The database {Database(new).name} is not empty: name another one\n"
        assert self.said(new) == [(1, "one")]
