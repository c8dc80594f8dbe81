"""Deliveries as an operator meets them: looked at, tried again, thrown away, on the command line."""

import json
import os
import pty
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, make_url, select, update

from extension_kit.deliveries.models import DEAD, DELIVERED, attempts, deliveries
from extension_kit.deliveries.outbox import Entry, Outbox
from extension_kit.engine.app import Engine
from extension_kit.store.database import Database
from extension_kit.store.migrate import upgrade
from tests.commands import extension_kit
from tests.conftest import BIN
from tests.databases import opened, postgresql_database, postgresql_schema, postgresql_server

PASSWORD = "hush"
SECRET = "s3cret-in-the-body"
NOW = datetime.now(UTC)
ERROR = "503 Service Unavailable " + "x" * 200


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgresql_server() as server, postgresql_database(server) as url:
        yield url


@pytest.fixture
def postgresql_url(server: str) -> Iterator[str]:
    with postgresql_schema(server) as url:
        yield make_url(url).set(password=PASSWORD).render_as_string(hide_password=False)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/extension.db"
    return str(request.getfixturevalue("postgresql_url"))


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/extension.db"


def command_line(url: str, *arguments: str) -> tuple[list[str], dict[str, str]]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EXTENSION_")}
    return [str(BIN / "extension-kit"), "deliveries", *arguments], {**environment, "EXTENSION_DATABASE_URL": url}


def run(url: str, *arguments: str, code: int = 0) -> str:
    """Run a command; what it says on stdout, or on stderr where it fails."""
    line, environment = command_line(url, *arguments)
    return said_by(subprocess.run(line, env=environment, capture_output=True, text=True, timeout=60, check=False), code)


def invoke(url: str, *arguments: str, code: int = 0) -> str:
    """The same in this process, which is faster."""
    return said_by(extension_kit("deliveries", *arguments, EXTENSION_DATABASE_URL=url), code)


def said_by(done: subprocess.CompletedProcess[str], code: int) -> str:
    said = done.stdout + done.stderr
    assert PASSWORD not in said
    assert SECRET not in said
    assert "Traceback" not in said
    assert done.returncode == code, said
    assert (done.stderr if code == 0 else done.stdout) == ""
    return said


def records(url: str, *arguments: str) -> Any:
    return json.loads(invoke(url, *arguments, "--json"))


def record(url: str, *names: str, series: str | None = "t/1") -> None:
    """What a server does for events that come in; each is for two listeners."""
    with opened(url, upgraded=False) as database:
        engine = Engine(database)
        upgrade(database, engine.create_tables)
        body = json.dumps({"token": SECRET}).encode()
        Outbox(database, engine).record(
            [
                Entry(
                    "steadybit", f"id-{number}", name, "ADM-1/7", NOW, body, series, ("oncall.page@/x", "audit.log@/x")
                )
                for number, name in enumerate(names, 1)
            ]
        )


def become(url: str, status: str, *refs: int, attempts_made: int = 0, **values: object) -> None:
    """Have workers make of deliveries what becomes of them, but for a queue that has them no longer."""
    with opened(url, upgraded=False) as database, database.transaction() as connection:
        mine = deliveries.c.ref.in_(refs)
        ended = {"status": status, "ended_at": NOW, "attempts": attempts_made, **values}
        connection.execute(update(deliveries).where(mine).values(ended))
        for ref in refs:
            for number in range(1, attempts_made + 1):
                made = {
                    "delivery_ref": ref,
                    "number": number,
                    "started_at": NOW,
                    "ended_at": NOW + timedelta(seconds=1.5),
                }
                outcome = {"result": "failed", "error": ERROR, "status": 503, "excerpt": "come\x1b[31m back\nlater"}
                connection.execute(insert(attempts).values({**made, **outcome}))
        ref = "json_extract(args, '$.delivery_ref')" if database.is_sqlite else "(args ->> 'delivery_ref')::bigint"
        gone = ", ".join(str(number) for number in refs)
        connection.exec_driver_sql(f"DELETE FROM procrastinate_jobs WHERE {ref} IN ({gone})")


def waiting_jobs(url: str) -> int:
    with opened(url, upgraded=False) as database:
        return Engine(database).stats().waiting


@pytest.fixture
def filled(url: str) -> str:
    """Deliveries 1 to 6 of three events: 3 and 6 are dead letters, 1 was delivered."""
    record(url, "a.b", "c.d", "a.b")
    become(url, DEAD, 3, 6, attempts_made=2, error=ERROR, created_at=NOW - timedelta(hours=3))
    become(url, DELIVERED, 1)
    return url


def test_listing(filled: str) -> None:
    found = json.loads(run(filled, "list", "--json"))
    assert [one["delivery"] for one in found] == [6, 5, 4, 3, 2, 1]
    created = datetime.fromisoformat(found[3]["created_at"])
    assert abs(created - (NOW - timedelta(hours=3))) < timedelta(milliseconds=1)
    assert datetime.fromisoformat(found[3]["ended_at"]).tzinfo is not None
    assert {name: value for name, value in found[3].items() if not name.endswith("_at")} == {
        "delivery": 3,
        "status": "dead",
        "attempts": 2,
        "event": "c.d",
        "event_id": "id-2",
        "subject": "ADM-1/7",
        "listener": "oncall.page@/x",
        "series": "t/1",
        "place_in_series": 2,
        "error": ERROR,
    }
    assert found[3]["due_at"] is None
    assert found[0]["due_at"] is None
    assert found[1]["due_at"] is not None

    table = run(filled, "list").splitlines()
    rows = [line.split() for line in table if "id-" in line]
    assert [row[:3] for row in rows] == [[str(n), s, a] for n, s, a in [
        (6, "dead", "2"), (5, "waiting", "0"), (4, "waiting", "0"),
        (3, "dead", "2"), (2, "waiting", "0"), (1, "delivered", "0"),
    ]]  # fmt: skip
    assert rows[3][3:6] == ["c.d", "id-2", "oncall.page@/x"]
    assert [line.rstrip().endswith(ERROR[:80]) for line in table if " dead " in line] == [True, True]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--status", "dead"], [6, 3]),
        (["--status", "waiting"], [5, 4, 2]),
        (["--listener", "audit"], [6, 4, 2]),
        (["--event", "c.d"], [4, 3]),
        (["--event-id", "id-3"], [6, 5]),
        (["--after", "2h"], [5, 4, 2, 1]),
        (["--before", "2h"], [6, 3]),
        (["--before", "2100-01-01", "--limit", "2"], [6, 5]),
        (["--after", "2020-01-01T00:00:00+02:00", "--before", "2h", "--event", "a.b"], [6]),
        (["--status", "discarded"], []),
    ],
)
def test_filters(sqlite_url: str, options: list[str], expected: list[int]) -> None:
    record(sqlite_url, "a.b", "c.d", "a.b")
    become(sqlite_url, DEAD, 3, 6, created_at=NOW - timedelta(hours=3))
    become(sqlite_url, DELIVERED, 1)
    assert [one["delivery"] for one in records(sqlite_url, "list", *options)] == expected


def test_more_than_the_limit(sqlite_url: str) -> None:
    record(sqlite_url, "a.b", "c.d")
    said = invoke(sqlite_url, "list", "--limit", "3")
    assert said.endswith("3 of 4, the newest; --limit shows more.\n")
    assert "--limit" not in invoke(sqlite_url, "list", "--limit", "4")


def test_showing_one(filled: str) -> None:
    shown = records(filled, "show", "3")
    assert (shown["delivery"], shown["status"], shown["error"]) == (3, "dead", ERROR)
    assert [attempt["attempt"] for attempt in shown["history"]] == [1, 2]
    assert {name: value for name, value in shown["history"][1].items() if name != "started_at"} == {
        "attempt": 2,
        "result": "failed",
        "seconds": 1.5,
        "status": 503,
        "error": ERROR,
        "excerpt": "come\x1b[31m back\nlater",
    }
    lines = invoke(filled, "show", "3").splitlines()
    assert "delivery:        3" in lines
    assert "listener:        oncall.page@/x" in lines
    assert "event_id:        id-2" in lines
    assert f"error:           {ERROR}" in lines
    assert lines.count("excerpt:         come [31m back later") == 2  # nothing in it steers the terminal
    assert records(filled, "show", "2")["history"] == []


def test_what_others_wrote_is_shown_as_it_is(sqlite_url: str) -> None:
    record(sqlite_url, "[/b]")
    become(sqlite_url, DEAD, 1, error="[red]no[/blue] \x1b]0;title\x07")
    assert "[red]no[/blue] ]0;title" in invoke(sqlite_url, "list")
    assert "[/b]" in invoke(sqlite_url, "list")
    assert "error:           [red]no[/blue] ]0;title" in invoke(sqlite_url, "show", "1")


def test_an_attempt_under_way(sqlite_url: str) -> None:
    record(sqlite_url, "a.b")
    with opened(sqlite_url) as database, database.transaction() as connection:
        connection.execute(insert(attempts).values(delivery_ref=1, number=1, started_at=NOW))
    (attempt,) = records(sqlite_url, "show", "1")["history"]
    assert (attempt["result"], attempt["seconds"]) == ("in progress", None)
    assert "result:          in progress" in invoke(sqlite_url, "show", "1").splitlines()


def test_replaying_by_number(filled: str) -> None:
    assert run(filled, "replay", "3") == "Replayed 1 dead letter.\n"
    shown = records(filled, "show", "3")
    assert (shown["status"], shown["attempts"], shown["ended_at"]) == ("waiting", 2, None)
    assert len(shown["history"]) == 2
    assert waiting_jobs(filled) == 4


def test_replaying_by_filter_and_all(filled: str) -> None:
    assert invoke(filled, "replay", "--listener", "nobody") == "Replayed 0 dead letters.\n"
    assert invoke(filled, "replay", "--event", "a.b", "--before", "1h") == "Replayed 1 dead letter.\n"
    assert [one["delivery"] for one in records(filled, "list", "--status", "dead")] == [3]
    assert invoke(filled, "replay", "--all") == "Replayed 1 dead letter.\n"
    assert invoke(filled, "replay", "--all") == "Replayed 0 dead letters.\n"
    assert waiting_jobs(filled) == 5


def test_discarding(filled: str) -> None:
    assert run(filled, "discard", "6") == "Discarded 1 dead letter.\n"
    assert invoke(filled, "discard", "--all") == "Discarded 1 dead letter.\n"
    assert [one["delivery"] for one in records(filled, "list", "--status", "discarded")] == [6, 3]
    assert waiting_jobs(filled) == 3
    assert invoke(filled, "replay", "--all") == "Replayed 0 dead letters.\n"


@pytest.mark.parametrize("change", ["replay", "discard"])
def test_what_is_no_dead_letter_is_refused_and_nothing_changed(filled: str, change: str) -> None:
    before = records(filled, "list")
    assert invoke(filled, change, "3", "1", code=1) == (
        "Error: delivery 1 is no dead letter, it is delivered; nothing was changed\n"
    )
    assert invoke(filled, change, "3", "99", code=1) == "Error: there is no delivery 99; nothing was changed\n"
    assert records(filled, "list") == before


def test_making_the_queue_anew(filled: str) -> None:
    with opened(filled, upgraded=False) as database, database.transaction() as connection:
        connection.exec_driver_sql("DELETE FROM procrastinate_jobs")
    assert waiting_jobs(filled) == 0
    assert run(filled, "rebuild") == "3 deliveries wait in the queue now.\n"
    assert waiting_jobs(filled) == 3
    assert invoke(filled, "rebuild") == "3 deliveries wait in the queue now.\n"
    assert waiting_jobs(filled) == 3


def test_long_work_shows_how_far_it_is(sqlite_url: str) -> None:
    record(sqlite_url, *["a.b"] * 600)
    with opened(sqlite_url) as database, database.read() as connection:
        refs = connection.execute(select(deliveries.c.ref)).scalars().all()
    become(sqlite_url, DEAD, *refs)
    for arguments, unit in ((["replay", "--all"], "dead letters"), (["rebuild"], "deliveries")):
        line, environment = command_line(sqlite_url, *arguments)
        ours, theirs = pty.openpty()
        with subprocess.Popen(
            line, env={**environment, "TERM": "xterm", "COLUMNS": "100"}, stdout=subprocess.PIPE, stderr=theirs
        ) as process:
            os.close(theirs)
            seen = b""
            while chunk := _read(ours):
                seen += chunk
            said, _ = process.communicate(timeout=60)
        os.close(ours)
        assert process.returncode == 0
        assert b"1200" in said
        assert unit.encode() in seen
        assert b"1200/1200" in seen


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # nobody has it open any more
        return b""


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["replay"], "say which: numbers, or a filter, or --all"),
        (["discard"], "say which: numbers, or a filter, or --all"),
        (["discard", "--listener", ""], "say which: numbers, or a filter, or --all"),
        (["replay", "--all", "--listener", "x"], "say which: numbers, or a filter, or --all"),
        (["replay", "3", "--event", "x"], "say which: numbers, or a filter, or --all"),
        (["discard", "3", "--all"], "say which: numbers, or a filter, or --all"),
        (["replay", "three"], "'three' is not a valid integer range"),
        (["show"], "Missing argument 'DELIVERY'"),
        (["show", "99999999999999999999"], "is not in the range"),
        (["list", "--status", "lost"], "'lost' is not one of"),
        (["list", "--before", "yesterday"], "'yesterday' is neither a time (2026-11-21T10:30) nor an age"),
        (["list", "--after", "99999999999d"], "is neither a time"),
        (["list", "--after", "0001-01-01T00:00:00+10:00"], "is neither a time"),
        (["list", "--limit", "0"], "0 is not in the range"),
    ],
)
def test_bad_usage(sqlite_url: str, arguments: list[str], complaint: str) -> None:
    record(sqlite_url, "a.b")
    become(sqlite_url, DEAD, 1)
    said = invoke(sqlite_url, *arguments, code=2)
    assert complaint in " ".join(said.split())
    assert records(sqlite_url, "list", "--status", "dead")[0]["delivery"] == 1


def test_there_is_no_such_delivery(url: str) -> None:
    record(url, "a.b")
    assert run(url, "show", "7", code=1) == "Error: there is no delivery 7\n"


@pytest.mark.parametrize("arguments", [["list"], ["show", "1"], ["replay", "--all"], ["discard", "1"], ["rebuild"]])
def test_there_is_no_database(sqlite_url: str, arguments: list[str]) -> None:
    said = invoke(sqlite_url, *arguments, code=1)
    assert said.startswith(f"Error: The database {Database(sqlite_url).name} cannot be opened: ")
    assert said.count("\n") == 1


def test_the_server_is_down() -> None:
    said = run(f"postgresql://u:{PASSWORD}@127.0.0.1:1/d", "list", code=1)
    assert said.startswith("Error: The database postgresql://u:***@127.0.0.1:1/d cannot be reached (")


@pytest.mark.parametrize("name", ["list", "show", "replay", "discard", "rebuild"])
def test_help_says_how(name: str) -> None:
    said = invoke("sqlite:///unused.db", name, "--help")
    assert name == "rebuild" or f"  extension-kit deliveries {name} " in said.partition("Examples:")[2]
