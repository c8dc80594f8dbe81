"""Deliveries as an operator meets them: looked at, tried again, thrown away, on the command line."""

import json
import os
import pty
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, insert, make_url, select, update

from extension_kit.deliveries.action_rows import recent, state
from extension_kit.deliveries.adoption import AdoptionError, adopt
from extension_kit.deliveries.entries import Entry
from extension_kit.deliveries.handler import Due, Handler
from extension_kit.deliveries.inbox import Accepted, Inbox
from extension_kit.deliveries.outbox import Outbox
from extension_kit.deliveries.queries import Filter
from extension_kit.deliveries.retry import RetrySchedule
from extension_kit.deliveries.tables import (
    CLAIMED,
    DEAD,
    DELIVERED,
    DELIVERY_COLUMNS,
    LATER,
    READY,
    WAITING,
    attempts,
    deliveries,
)
from extension_kit.deliveries.waiting import discard_waiting, retry_now
from extension_kit.senders import Outcome
from extension_kit.store.database import Database
from extension_kit.store.migrate import upgrade
from tests.support.commands import extension_kit
from tests.support.databases import opened, postgresql_schema, postgresql_server
from tests.support.filing import filed_at
from tests.support.paths import BIN
from tests.support.recording import queued
from tests.support.servers import run_server
from tests.support.used import postgresql_database
from tests.support.waiting import wait_until
from tests.support.workers import always, working

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


BODY = json.dumps({"token": SECRET, "reason": "the shop \x9bwas down"}).encode()


def record(url: str, *names: str, series: str | None = "t/1", body: bytes = BODY) -> None:
    """What a server does for events that come in; each is for two listeners."""
    with opened(url, upgraded=False) as database:
        upgrade(database)
        Outbox(database).record(
            [
                Entry(
                    "steadybit", f"id-{number}", name, "ADM-1/7", NOW, body, series, ("oncall.page@/x", "audit.log@/x")
                )
                for number, name in enumerate(names, 1)
            ]
        )


def become(url: str, status: str, *refs: int, attempts_made: int = 0, **values: object) -> None:
    """Have workers make of deliveries what becomes of them."""
    with opened(url, upgraded=False) as database, database.transaction() as connection:
        mine = deliveries.c.ref.in_(refs)
        ended = {"status": status, "stage": None, "ended_at": NOW, "attempts": attempts_made, **values}
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


@contextmanager
def doing(url: str, *refs: int) -> Iterator[None]:
    """Have a worker attempt deliveries."""
    with opened(url, upgraded=False) as database:

        def change(stage: str, claimed_at: datetime | None) -> None:
            with database.transaction() as connection:
                mine = update(deliveries).where(deliveries.c.ref.in_(refs))
                connection.execute(mine.values(stage=stage, claimed_at=claimed_at))

        change(CLAIMED, NOW)
        yield
        change(READY, None)


def on_terminal(url: str, *arguments: str, width: int = 100, answer: str = "", code: int = 0) -> list[str]:
    """What a command shows on a terminal, line by line, when its question is answered."""
    line, environment = command_line(url, *arguments)
    ours, theirs = pty.openpty()
    environment |= {"TERM": "xterm", "COLUMNS": str(width)}
    with subprocess.Popen(line, env=environment, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        if answer:
            os.write(ours, f"{answer}\n".encode())
        seen = b""
        while chunk := _read(ours):
            seen += chunk
        assert process.wait(60) == code, seen
    os.close(ours)
    return seen.decode().splitlines()


def in_queue(url: str) -> int:
    with opened(url, upgraded=False) as database:
        return len(queued(database))


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
        "behind": None,
        "attempted_since": None,
        "error": ERROR,
    }
    assert found[3]["due_at"] is None
    assert found[0]["due_at"] is None
    assert found[1]["due_at"] is not None

    head, *lines = run(filled, "list").splitlines()
    assert head.split() == ["delivery", "status", "attempts", "event", "subject", "listener", "error"]
    rows = [re.split("  +", line) for line in lines]
    assert [row[0] for row in rows] == ["6", "5", "4", "3", "2", "1"]
    assert [re.sub(r"\d+ (s|min)", "N", row[1]) for row in rows] == [
        "dead N ago", "due now", "behind delivery 2", "dead N ago", "due now", "delivered N ago",
    ]  # fmt: skip
    assert rows[3][2:6] == ["2", "c.d", "ADM-1/7", "oncall.page@/x"]
    assert [line.endswith(f"  {ERROR[:200]}") for line in lines] == [True, False, False, True, False, False]


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_listing_on_a_terminal(sqlite_url: str, width: int) -> None:
    record(sqlite_url, "experiment.execution.step-completed", "experiment.execution.failed")
    become(sqlite_url, DEAD, 1, attempts_made=2, error=ERROR)
    lines = on_terminal(sqlite_url, "list", "--listener", "oncall.page", width=width)
    assert max(map(len, lines)) <= width
    head, waiting, dead, error = lines
    assert re.match(r"3 +due now +0 +\S*ecution\.failed +ADM-1/7 +oncall.page@/x", waiting)
    assert re.match(r"1 +dead \d+ (s|min) ago +2 +\S*step-completed +ADM", dead)
    assert error.startswith(" " * 10 + ERROR[:60])
    assert (error == " " * 10 + ERROR[:200]) == (width > 210)
    assert [head.index("listener")] * 2 == [line.index("oncall.page@/x") for line in (waiting, dead)]


def test_an_empty_list_says_so(sqlite_url: str) -> None:
    record(sqlite_url)
    name = Database(sqlite_url).name
    assert invoke(sqlite_url, "list") == f"There are no deliveries in {name}.\n"
    assert records(sqlite_url, "list") == []
    record(sqlite_url, "a.b")
    assert invoke(sqlite_url, "list", "--status", "dead") == (f"No delivery in {name} matches, of 2.\n")


@pytest.mark.parametrize(("number", "said"), [(1, "1 event not filed yet"), (2, "2 events not filed yet")])
def test_a_list_says_how_many_events_have_no_deliveries_yet(url: str, number: int, said: str) -> None:
    record(url, "a.b")
    with opened(url, upgraded=False) as database:
        inbox = Inbox(database)
        inbox.prepare()
        inbox.append(
            [Accepted(json.dumps({"id": f"{each}", "eventName": "a.b"}).encode(), ()) for each in range(number)]
        )
        inbox.close()
    last = invoke(url, "list").splitlines()[-1]
    assert last == f"{said}: a worker makes their deliveries."
    assert len(records(url, "list")) == 2
    assert filed_at(url) == number
    assert "not filed yet" not in invoke(url, "list")


def test_what_waits_behind_another_says_so(url: str) -> None:
    record(url, "a.b", "c.d", "e.f")
    become(url, DELIVERED, 1)
    with doing(url, 3):
        behind = {each["delivery"]: each["behind"] for each in records(url, "list")}
        assert behind == {6: 2, 5: 3, 4: 2, 3: None, 2: None, 1: None}
        assert "behind:          3" in invoke(url, "show", "5").splitlines()
    # What is replayed has its old place in the line.
    become(url, DEAD, 2)
    assert records(url, "show", "4")["behind"] is None
    invoke(url, "replay", "2")
    assert [records(url, "show", ref)["behind"] for ref in ("2", "4")] == [None, 2]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--status", "dead"], [6, 3]),
        (["--status", "waiting"], [5, 4, 2]),
        (["--listener", "audit"], [6, 4, 2]),
        (["--event", "c.d"], [4, 3]),
        (["--event", "c.*"], [4, 3]),
        (["--event", "*.d", "--listener", "audit"], [4]),
        (["--event-id", "id-3"], [6, 5]),
        (["--after", "2h"], [5, 4, 2, 1]),
        (["--before", "2h"], [6, 3]),
        (["--before", "2100-01-01", "--limit", "2"], [6, 5]),
        (["--after", "2020-01-01T00:00:00+02:00", "--before", "2h", "--event", "a.b"], [6]),
        (["--status", "discarded"], []),
        (["--subject", "ADM-1/7", "--source", "steadybit", "--event-id", "id-3"], [6, 5]),
        (["--subject", "ADM-1/8"], []),
        (["--source", "croneye"], []),
        (["--error", "UNAVAILABLE"], [3]),
        (["--error", "%"], []),
    ],
)
def test_filters(sqlite_url: str, options: list[str], expected: list[int]) -> None:
    record(sqlite_url, "a.b", "c.d", "a.b")
    become(sqlite_url, DEAD, 3, 6, created_at=NOW - timedelta(hours=3))
    become(sqlite_url, DEAD, 3, error="503 Service Unavailable")
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


def test_the_body_is_shown_without_secrets(filled: str) -> None:
    assert records(filled, "show", "1")["body"] == {"token": "***", "reason": "the shop \x9bwas down"}
    lines = invoke(filled, "show", "1").splitlines()
    assert lines[-4:] == ["{", '  "token": "***",', '  "reason": "the shop  was down"', "}"]


def test_a_body_that_is_no_json(sqlite_url: str) -> None:
    record(sqlite_url, "a.b", body=b"\xff\x00")
    assert records(sqlite_url, "show", "1")["body"] == "2 bytes that are not JSON"


def test_what_others_wrote_is_shown_as_it_is(sqlite_url: str) -> None:
    record(sqlite_url, "[/b]")
    become(sqlite_url, DEAD, 1, error="[red]no[/blue] \x1b]0;title\x07")
    assert "[red]no[/blue] ]0;title" in invoke(sqlite_url, "list")
    assert "[/b]" in invoke(sqlite_url, "list")
    assert "error:           [red]no[/blue] ]0;title" in invoke(sqlite_url, "show", "1")


def test_an_attempt_under_way(sqlite_url: str) -> None:
    record(sqlite_url, "a.b")
    with doing(sqlite_url, 1):
        assert re.search("^1 +attempted for [0-9]+ (s|min|h) ", invoke(sqlite_url, "list"), re.MULTILINE)
        shown = records(sqlite_url, "show", "1")
    assert datetime.fromisoformat(shown["attempted_since"]) == NOW
    assert shown["history"] == []  # an attempt is written when it has ended
    assert records(sqlite_url, "show", "1")["attempted_since"] is None


def test_replaying_by_number(filled: str) -> None:
    assert invoke(filled, "replay", "3") == "Replayed 1 dead letter.\n"
    shown = records(filled, "show", "3")
    assert (shown["status"], shown["attempts"], shown["ended_at"]) == ("waiting", 2, None)
    assert len(shown["history"]) == 2
    assert in_queue(filled) == 4


def test_replaying_by_filter_and_all(filled: str) -> None:
    assert invoke(filled, "replay", "--listener", "nobody") == "Replayed 0 dead letters.\n"
    for other in (["--event", "x.*"], ["--subject", "ADM-1/8"], ["--source", "croneye"], ["--error", "nothing"]):
        assert invoke(filled, "replay", *other) == "Replayed 0 dead letters.\n"
    assert (
        invoke(filled, "replay", "--event", "a.*", "--source", "steadybit", "--before", "1h")
        == "Replayed 1 dead letter.\n"
    )
    assert [one["delivery"] for one in records(filled, "list", "--status", "dead")] == [3]
    assert invoke(filled, "replay", "--all") == "Replayed 1 dead letter.\n"
    assert invoke(filled, "replay", "--all") == "Replayed 0 dead letters.\n"
    assert in_queue(filled) == 5


def test_discarding(filled: str) -> None:
    assert invoke(filled, "discard", "6") == "Discarded 1 dead letter.\n"
    assert invoke(filled, "discard", "--all") == "Discarded 1 dead letter.\n"
    assert [one["delivery"] for one in records(filled, "list", "--status", "discarded")] == [6, 3]
    assert in_queue(filled) == 3
    assert invoke(filled, "replay", "--all") == "Replayed 0 dead letters.\n"


def test_what_was_changed_is_written_down_as_an_action(filled: str) -> None:
    invoke(filled, "replay", "3")
    invoke(filled, "discard", "--event", "a.*")
    invoke(filled, "retry-now", "--listener", "nobody")
    with opened(filled, upgraded=False) as database, database.read() as connection:
        newest = recent(connection, None, 10)
        assert [(row.kind, row.filter, row.expected, row.changed) for row in reversed(newest)] == [
            ("replay", "ref=3&status=dead", 1, 1),
            ("discard", "status=dead&event=a.%2A", 1, 1),
            ("retry now", "status=waiting&listener=nobody", 0, 0),
        ]
        assert {(row.made_by, row.error, state(row, datetime.now(UTC))) for row in newest} == {
            ("command line", None, "done")
        }


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("replay", "delivery 1 is no dead letter, it is delivered"),
        ("discard", "delivery 1 is no dead letter and no waiting delivery, it is delivered"),
        ("retry-now", "delivery 3 is no waiting delivery, it is dead"),
    ],
)
def test_what_cannot_be_changed_is_refused_and_nothing_changed(filled: str, change: str, expected: str) -> None:
    before = records(filled, "list")
    others = ["2"] if change == "retry-now" else ["3"]
    assert invoke(filled, change, *others, "1" if "1" in expected else "3", code=1) == (
        f"Error: {expected}; nothing was changed\n"
    )
    assert invoke(filled, change, *others, "99", code=1) == "Error: there is no delivery 99; nothing was changed\n"
    assert records(filled, "list") == before


def postpone(url: str, *refs: int) -> None:
    """Have deliveries wait for an hour, as after an attempt that failed."""
    with opened(url, upgraded=False) as database, database.transaction() as connection:
        later = datetime.now(UTC) + timedelta(hours=1)
        values = {"due_at": later, "attempts": 1, "stage": LATER}
        connection.execute(update(deliveries).where(deliveries.c.ref.in_(refs)).values(values))


class Worker:
    """Makes deliveries in a thread, and remembers which; those that ``fail`` are to be tried again in an hour."""

    def __init__(self, url: str, *fail: int, wait: Callable[[], object] = lambda: None) -> None:
        self.made: list[int] = []
        self._url, self._fail, self._wait = url, fail, wait

    @contextmanager
    def working(self) -> Iterator[list[int]]:
        find = always(self._make, RetrySchedule((3600,) * 3))
        with opened(self._url, upgraded=False) as database, working(database, find=find):
            yield self.made

    def _make(self, due: Due) -> Outcome:
        self._wait()
        self.made.append(due.ref)
        return Outcome("failed" if due.ref in self._fail else "delivered", ERROR)


@pytest.mark.parametrize("series", ["t/1", None])
def test_what_waits_is_tried_at_once_when_somebody_wants_it(url: str, series: str | None) -> None:
    record(url, "a.b", "c.d", series=series)
    postpone(url, 1, 2, 3, 4)
    with Worker(url).working() as made:
        assert invoke(url, "retry-now", "--listener", "nobody") == "Due now: 0 waiting deliveries.\n"
        assert run(url, "retry-now", "1") == "Due now: 1 waiting delivery.\n"
        wait_until(lambda: made == [1])
        assert invoke(url, "retry-now", "--event", "c.d") == "Due now: 2 waiting deliveries.\n"
        wait_until(lambda: {3, 4} < set(made) or (series == "t/1" and 3 in made))
        assert invoke(url, "retry-now", "--all").startswith("Due now: ")
        wait_until(lambda: sorted(made) == [1, 2, 3, 4])
    wait_until(lambda: not records(url, "list", "--status", "waiting"))


def test_what_stands_behind_another_is_told_so_when_it_is_to_be_tried(url: str) -> None:
    record(url, "a.b", "c.d")
    postpone(url, 1)
    assert invoke(url, "retry-now", "3") == (
        "Due now: 1 waiting delivery.\nDelivery 3 still waits behind delivery 1, which has to end first.\n"
    )


def test_what_no_worker_would_find_is_found_when_it_is_to_be_tried(url: str) -> None:
    record(url, "a.b")
    become(url, WAITING, 1, ended_at=None)  # as by hand: without a stage
    assert in_queue(url) == 1
    assert invoke(url, "retry-now", "1", "2") == "Due now: 2 waiting deliveries.\n"
    assert in_queue(url) == 2


@pytest.mark.parametrize("series", ["t/1", None])
def test_a_poison_delivery_is_thrown_away_and_those_behind_it_go_on(url: str, series: str | None) -> None:
    record(url, "a.b", "c.d", series=series)
    postpone(url, 1)
    with Worker(url, 1).working() as made:
        wait_until(lambda: {2, 4} <= set(made))
        assert run(url, "discard", "1") == "Discarded 1 waiting delivery.\n"
        wait_until(lambda: 3 in made)
    shown = records(url, "show", "1")
    assert (shown["status"], shown["ended_at"] is None) == ("discarded", False)
    assert 1 not in made
    assert in_queue(url) == 0


def test_what_is_being_attempted_is_left_alone(url: str) -> None:
    record(url, "a.b", "c.d")
    with doing(url, 1):
        left = "Skipped because an attempt is running: 1.\n"
        assert invoke(url, "retry-now", "1", "2") == f"Due now: 1 waiting delivery.\n{left}"
        assert invoke(url, "discard", "1", "2") == f"Discarded 1 waiting delivery.\n{left}"
        assert [each["status"] for each in records(url, "list")] == ["waiting", "waiting", "discarded", "waiting"]
    with Worker(url).working() as made:
        wait_until(lambda: sorted(made) == [1, 3, 4])


def test_by_a_filter_what_waits_is_thrown_away_only_when_that_is_confirmed(filled: str) -> None:
    wanted = ["discard", "--status", "waiting", "--listener", "oncall"]
    assert "no terminal to confirm on: --yes discards waiting deliveries" in invoke(filled, *wanted, code=2)
    question = "Discard 1 waiting delivery? [y/N]: "
    assert on_terminal(filled, *wanted, answer="n", code=1)[-1] == f"{question}Aborted!"
    assert len(records(filled, "list", "--status", "waiting")) == 3
    said = on_terminal(filled, *wanted, answer="y")
    assert any(question in line for line in said)
    assert said[-1].endswith("Discarded 1 waiting delivery.")
    assert invoke(filled, *wanted[:3], "--all", "--yes") == "Discarded 2 waiting deliveries.\n"
    assert in_queue(filled) == 0
    assert len(records(filled, "list", "--status", "dead")) == 2


def test_by_number_what_waits_and_what_is_dead_is_thrown_away(filled: str) -> None:
    assert invoke(filled, "discard", "5", "6") == "Discarded 1 dead letter and 1 waiting delivery.\n"


def test_beside_a_worker_nothing_is_both_made_and_thrown_away(url: str) -> None:
    record(url, *["a.b"] * 60, series="t/1")
    every = set(range(1, 121))
    permits = threading.Semaphore(0)
    with Worker(url, wait=permits.acquire).working() as made, opened(url, upgraded=False) as database:
        for ref in sorted(every, reverse=True)[::3]:
            list(retry_now(database, Filter()))
            list(discard_waiting(database, Filter(refs=(ref,))))
            permits.release(3)
        wait_until(lambda: not records(url, "list", "--status", "waiting"))
        discarded = {each["delivery"] for each in records(url, "list", "--status", "discarded")}
    assert discarded
    assert sorted(made) == sorted(every - discarded)
    for listener in range(2):
        mine = [ref for ref in made if ref % 2 == listener]
        assert mine == sorted(mine)


class TestAdopting:
    OLD, NEW = "oncall.page@/x", "oncall.call@/y"

    @pytest.mark.parametrize("series", ["t/1", None])
    def test_what_waits_is_handed_over_in_order(self, url: str, series: str | None) -> None:
        record(url, "a.b", "c.d", "e.f", series=series)
        become(url, DEAD, 3, attempts_made=2, error=ERROR)
        postpone(url, 1)
        with opened(url, upgraded=False) as database:
            later = Entry("steadybit", "id-9", "g.h", None, NOW, BODY, series, (self.NEW,))
            Outbox(database).record([later])
        assert invoke(url, "adopt", self.OLD, self.NEW) == (
            f"Moved 2 waiting deliveries and 1 dead letter from {self.OLD} to {self.NEW}.\n"
        )
        rows = {each["delivery"]: each for each in records(url, "list", "--listener", self.NEW)}
        assert {ref: row["status"] for ref, row in rows.items()} == {
            7: "waiting", 5: "waiting", 3: "dead", 1: "waiting",
        }  # fmt: skip
        assert invoke(url, "replay", "3") == "Replayed 1 dead letter.\n"
        with Worker(url).working() as made:
            wait_until(lambda: set(made) == {1, 2, 3, 4, 5, 6, 7})
        mine = [ref for ref in made if ref in rows]
        assert series is None or mine == [1, 3, 5, 7]

    def test_the_queue_made_anew_is_the_same(self, url: str) -> None:
        record(url, "a.b", "c.d")
        before = self.queued(url)
        invoke(url, "adopt", self.OLD, self.NEW)
        adopted = self.queued(url)
        assert adopted == [
            (ref, lock and lock.replace(self.OLD, self.NEW), listener.replace(self.OLD, self.NEW))
            for ref, lock, listener in before
        ]
        invoke(url, "rebuild")
        assert self.queued(url) == adopted

    def queued(self, url: str) -> list[tuple[int, str | None, str]]:
        with opened(url, upgraded=False) as database:
            return queued(database)

    def test_attempts_are_counted_anew(self, sqlite_url: str) -> None:
        record(sqlite_url, "a.b")
        postpone(sqlite_url, 1)
        invoke(sqlite_url, "adopt", self.OLD, self.NEW)
        with opened(sqlite_url) as database, database.read() as connection:
            row = connection.execute(select(*DELIVERY_COLUMNS).where(deliveries.c.ref == 1)).one()
        assert (row.attempts, row.uncounted_attempts, row.error, row.due_at <= datetime.now(UTC)) == (1, 1, None, True)

    @pytest.mark.parametrize(
        ("old", "new", "complaint"),
        [
            (OLD, OLD, "both are the same listener"),
            ("subscription:7", NEW, "subscription:7 is a subscription"),
            (OLD, "subscription:7", "subscription:7 is a subscription"),
            (OLD, "oncall", "oncall is no listener's key, which looks like oncall.page@/events/page"),
            ("gone.page@/x", NEW, "nothing waits for gone.page@/x, and it has no dead letters; deliveries wait for"),
            (
                OLD,
                "audit.log@/x",
                "audit.log@/x has got an event of oncall.page@/x already, delivery 2 beside",
            ),
        ],
    )
    def test_what_cannot_be_right_is_refused(self, url: str, old: str, new: str, complaint: str) -> None:
        record(url, "a.b")
        before = records(url, "list")
        said = invoke(url, "adopt", old, new, code=1)
        assert said.startswith(f"Error: {complaint}")
        assert said.endswith("; nothing was changed\n")
        assert records(url, "list") == before

    def test_what_is_being_attempted_is_not_handed_over(self, url: str) -> None:
        record(url, "a.b", "c.d")
        with doing(url, 1):
            before = records(url, "list")
            said = invoke(url, "adopt", self.OLD, self.NEW, code=1)
            assert said.startswith("Error: delivery 1 is being attempted right now")
            assert records(url, "list") == before
        assert in_queue(url) == 4

    def test_while_events_come_in_and_a_worker_works_none_is_lost_doubled_or_out_of_order(self, url: str) -> None:
        """A server of the old version still records; a worker of the new one fails what it does not know."""
        record(url)
        made: list[int] = []

        def find(key: str, connection: Connection) -> Handler:
            def make(due: Due) -> Outcome:
                if key == self.OLD:
                    return Outcome("failed", "is not loaded in this worker")
                made.append(due.ref)
                return Outcome("delivered")

            return Handler(make, RetrySchedule((3600,) * 50), 10.0)

        with opened(url, upgraded=False) as database:
            outbox = Outbox(database)
            with working(database, find=find):
                for number in range(60):
                    series = f"t/{number % 4}"
                    outbox.record([Entry("steadybit", str(number), "a.b", None, NOW, BODY, series, (self.OLD,))])
                    if number % 3 == 2:
                        self.adopted(database)
                wait_until(lambda: self.adopted(database) and len(made) == 60)
        assert len(set(made)) == 60
        for line in range(4):
            mine = [ref for ref in made if ref % 4 == line]
            assert mine == sorted(mine)

    def adopted(self, database: Database) -> bool:
        """Whether nothing is left of the old one; what is, is handed over."""
        try:
            with database.transaction() as connection:
                adopt(connection, self.OLD, self.NEW)
        except AdoptionError as error:
            return str(error).startswith("nothing waits for")
        return False

    def test_a_key_can_be_looked_up_in_files(self, sqlite_url: str, tmp_path: Path) -> None:
        record(sqlite_url, "a.b")
        (tmp_path / "renamed.py").write_text(
            "from extension_kit import Extension\nextension = Extension('x')\n"
            "@extension.listen_to('a.b', path='/y')\ndef call(): ...\n"
        )
        said = invoke(sqlite_url, "adopt", self.OLD, "x.page@/y", str(tmp_path / "renamed.py"), code=1)
        assert said.startswith(f"Error: x.page@/y is not in {tmp_path}/renamed.py; there are: x.call@/y")
        said = invoke(sqlite_url, "adopt", self.OLD, "x.call@/y", str(tmp_path / "renamed.py"))
        assert said.startswith("Moved 1 waiting delivery and 0 dead letters from")


def test_a_renamed_function_is_told_of_by_the_worker_and_the_list(tmp_path: Path, sqlite_url: str) -> None:
    """As it happens: events wait for a function that fails, it is renamed, then what waits is handed over."""
    record(sqlite_url, "a.b", "c.d")
    (tmp_path / "renamed.py").write_text(
        "from extension_kit import Extension\nextension = Extension('x')\n"
        "@extension.listen_to('a.b', path='/x')\ndef page(): print('got one', flush=True)\n"
        "@extension.listen_to('a.b', path='/z')\ndef log(): ...\n"
    )
    invoke(sqlite_url, "discard", "--status", "waiting", "--listener", "audit", "--yes")
    command = [str(BIN / "extension-kit"), "worker", "renamed.py"]
    with run_server(command, tmp_path / "log", cwd=tmp_path, EXTENSION_DATABASE_URL=sqlite_url) as worker:
        wait_until(
            lambda: "Deliveries without a function: 2 for oncall.page@/x, which is not loaded here" in worker.log
        )
        wait_until(lambda: "oncall.page@/x is not loaded in this worker" in worker.log)
        assert worker.log.count("Deliveries without a function") == 1
        told = (
            "Deliveries without a function: 2 for oncall.page@/x, which the worker did not know that last tried. "
            "If a function, its path or its extension was renamed, `extension-kit deliveries adopt OLD NEW` hands them "
            "over; `discard --status waiting` throws them away.\n"
        )
        wait_until(lambda: invoke(sqlite_url, "list").endswith(told))
        arguments = ["adopt", "oncall.page@/x", "x.page@/x", str(tmp_path / "renamed.py")]
        assert run(sqlite_url, *arguments).startswith("Moved 2 waiting deliveries")
        wait_until(lambda: worker.log.count("got one") == 2)
    assert "in vain" not in invoke(sqlite_url, "list")


def test_making_the_queue_anew(filled: str) -> None:
    with opened(filled, upgraded=False) as database, database.transaction() as connection:
        connection.execute(update(deliveries).values(stage=None))
    assert in_queue(filled) == 0
    for _ in range(2):
        assert invoke(filled, "rebuild") == "3 waiting deliveries are in the queue now.\n"
        assert in_queue(filled) == 3


def test_long_work_shows_how_far_it_is(sqlite_url: str) -> None:
    record(sqlite_url, *["a.b"] * 600)
    with opened(sqlite_url) as database, database.read() as connection:
        refs = connection.execute(select(deliveries.c.ref)).scalars().all()
    become(sqlite_url, DEAD, *refs)
    line, environment = command_line(sqlite_url, "replay", "--all")
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
    assert b"dead letters" in seen
    assert b"1200/1200" in seen


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # nobody has it open any more
        return b""


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["replay"], "select deliveries by numbers, by a filter or by --all"),
        (["discard"], "select deliveries by numbers, by a filter or by --all"),
        (["discard", "--listener", ""], "select deliveries by numbers, by a filter or by --all"),
        (["replay", "--all", "--listener", "x"], "select deliveries by numbers, by a filter or by --all"),
        (["replay", "3", "--event", "x"], "select deliveries by numbers, by a filter or by --all"),
        (["discard", "3", "--all"], "select deliveries by numbers, by a filter or by --all"),
        (["discard", "3", "--status", "dead"], "--status needs a filter or --all"),
        (["retry-now"], "select deliveries by numbers, by a filter or by --all"),
        (["replay", "three"], "'three' is not a valid integer range"),
        (["show"], "Missing argument 'DELIVERY'"),
        (["show", "99999999999999999999"], "is not in the range"),
        (["list", "--status", "lost"], "'lost' is not one of"),
        (["list", "--before", "yesterday"], "'yesterday' is neither a time (2026-11-21T10:30) nor an age"),
        (["list", "--after", "99999999999d"], "is neither a time"),
        (["list", "--after", "0001-01-01T00:00:00+10:00"], "is neither a time"),
        (["list", "--limit", "0"], "0 is not in the range"),
        (["list", "--event", "a.b*"], "'a.b*' is not an event name"),
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


@pytest.mark.parametrize(
    "arguments",
    [
        ["list"],
        ["show", "1"],
        ["replay", "--all"],
        ["discard", "1"],
        ["retry-now", "1"],
        ["adopt", "a@/a", "b@/b"],
        ["rebuild"],
    ],
)
def test_there_is_no_database(sqlite_url: str, arguments: list[str]) -> None:
    said = invoke(sqlite_url, *arguments, code=1)
    assert said.startswith(f"Error: There is no database {Database(sqlite_url).path}: run this in the directory where ")
    assert said.count("\n") == 1


def test_the_server_is_down() -> None:
    said = run(f"postgresql://u:{PASSWORD}@127.0.0.1:1/d", "list", code=1)
    assert said.startswith("Error: The database postgresql://u:***@127.0.0.1:1/d cannot be reached (")


@pytest.mark.parametrize("name", ["list", "show", "replay", "retry-now", "discard", "adopt", "rebuild"])
def test_help_says_how(name: str) -> None:
    said = invoke("sqlite:///unused.db", name, "--help")
    assert name == "rebuild" or f"  extension-kit deliveries {name} " in said.partition("Examples:")[2]
