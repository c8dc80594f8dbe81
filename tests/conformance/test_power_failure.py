"""A power failure at any moment loses nothing that was answered with 200, on SQLite.

The processes keep a journal of all that SQLite writes and flushes. From it, the files are made as a disk may have them
if the power had failed at a moment, and a worker goes on with these. POWER_FAILURES in the environment says how many
moments are tried.
"""

import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

from tests.conformance.load import Sender, load
from tests.support.disk_journal import Kind, Record, records
from tests.support.durable import all_deliveries, statuses
from tests.support.ledgers import ended
from tests.support.power_failures import Disk
from tests.support.recording_vfs import library
from tests.support.servers import ready
from tests.support.waiting import wait_until

POWER_FAILURES = int(os.environ.get("POWER_FAILURES", "8"))
EVENTS = 250  # from each of the senders: more than fit into the logs until they are moved into the databases
SENDERS = 8
DATABASE = "extension.db"

pytestmark = [
    pytest.mark.timeout(120 + 10 * POWER_FAILURES),
    pytest.mark.skipif(library() is None, reason="the functions of this Python's SQLite cannot be reached"),
]


COMMITS = """
import sqlite3, sys
from pathlib import Path
from tests.support.recording_vfs import record

journal, database, synchronous = sys.argv[1:]
record(Path(journal))
connection = sqlite3.connect(database, isolation_level=None)
connection.execute("PRAGMA journal_mode=WAL")
connection.execute("CREATE TABLE numbers (number)")
connection.execute(f"PRAGMA synchronous={synchronous}")
for number in range(20):
    connection.execute("INSERT INTO numbers VALUES (?)", [number])
    print(Path(journal).stat().st_size)
"""
"""A program that commits a number after the other, and prints the size of the journal after each commit."""


class Accepted(NamedTuple):
    """An event that was answered with 200 when the journal had so many bytes."""

    event_id: str
    journal: int


@pytest.fixture
def environment(tmp_path, ledger):
    """The database does not exist yet: the journal has to have all that is written to it."""
    folder = tmp_path / "database"
    folder.mkdir()
    return {"EXTENSION_DATABASE_URL": f"sqlite:///{folder}/{DATABASE}", "LEDGER": ledger, "EXTENSION_STALLED_AFTER": 2}


@pytest.mark.parametrize(("synchronous", "keeps_all"), [("FULL", True), ("NORMAL", False), ("OFF", False)])
def test_the_journal_knows_commits_that_were_not_flushed(tmp_path, synchronous, keeps_all):
    """The control of the other test, with SQLite alone."""
    journal, database = tmp_path / "journal", tmp_path / DATABASE
    command = [sys.executable, "-c", COMMITS, str(journal), str(database), synchronous]
    sizes = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    random = Random(1)
    kept = []
    for number, size in enumerate(sizes):
        disk = Disk()
        for record in records(journal, int(size)):
            disk.apply(record)
        folder = tmp_path / str(number)
        folder.mkdir()
        disk.fail(random, folder)
        with closing(sqlite3.connect(folder / DATABASE)) as connection:
            kept.append(connection.execute("SELECT count(*) FROM numbers").fetchone()[0] == number + 1)
    assert len(kept) == 20
    assert all(kept) == keeps_all


def test_what_was_answered_with_200_survives_a_power_failure(serve, work, ledger, event, tmp_path, moments):
    journal = tmp_path / "journal"
    accepted: list[Accepted] = []

    def note(event_id: str) -> None:
        accepted.append(Accepted(event_id, journal.stat().st_size))

    with serve(app="recorded.py", EXTENSION_WEB_WORKERS=2, DISK_JOURNAL=journal) as server:
        ready(server)
        Sender(server, event, "/events/plain", SENDERS, most=1).start()
        wait_until(lambda: ended(ledger))  # the worker is there
        with load(server, event, "/events/plain", keys=SENDERS, most=EVENTS, on_accepted=note) as senders:
            senders.wait()
        end = journal.stat().st_size
        os.killpg(server.process.pid, signal.SIGKILL)
    history = list(records(journal, end))
    disk = Disk()
    done = 0
    for number, moment in enumerate(chosen(moments, accepted, history)):
        while done < len(history) and history[done].end <= moment:
            disk.apply(history[done])
            done += 1
        folder = tmp_path / f"failure-{number}"
        folder.mkdir()
        disk.fail(moments, folder)
        print(f"failure {number} at byte {moment} of {end} of the journal")
        before = [each.event_id for each in accepted if each.journal <= moment]
        goes_on(work, folder, before, ended(ledger))


def chosen(moments, accepted: list[Accepted], history: list[Record]) -> list[int]:
    """Moments for power failures: right after an answer, while the log is moved into the database, and any others."""
    first, end = accepted[0].journal, history[-1].end
    moved = [
        record.end
        for record in history
        if record.end > first and record.kind is Kind.WRITE and not record.path.endswith(("-wal", "-journal"))
    ]
    assert moved
    return sorted(
        moments.choice([moments.choice(accepted).journal, moments.choice(moved), moments.randint(first, end)])
        for _ in range(POWER_FAILURES)
    )


def goes_on(work, folder: Path, accepted: list[str], ended_before: list[str]) -> None:
    """A worker finds all accepted events in a folder of databases, and handles those that were not handled before."""
    ledger = folder / "ledger"
    ledger.touch()
    url = f"sqlite:///{folder}/{DATABASE}"
    with work(EXTENSION_DATABASE_URL=url, LEDGER=ledger) as worker:
        ready(worker)
        with suppress(AssertionError):  # of the wait: which events are lost says more
            wait_until(lambda: is_done(url, accepted))
        deliveries = all_deliveries(url)
    assert sorted(set(accepted) - {delivery.event_id for delivery in deliveries}) == [], "lost events"
    assert {delivery.status for delivery in deliveries} == {"delivered"}
    assert set(Counter(delivery.event_id for delivery in deliveries).values()) == {1}
    assert set(accepted) <= {*ended_before, *ended(ledger)}
    assert in_order_and_once(ended(ledger))
    for file in folder.glob(f"{DATABASE}*"):
        if file.read_bytes().startswith(b"SQLite format 3"):
            with closing(sqlite3.connect(file)) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def in_order_and_once(event_ids: list[str]) -> bool:
    """Return True if the events of each experiment run follow each other without a gap."""
    numbers: dict[str, list[int]] = {}
    for event_id in event_ids:
        key, _, number = event_id.partition("-")
        numbers.setdefault(key, []).append(int(number))
    return all(each == list(range(each[0], each[0] + len(each))) for each in numbers.values())


def is_done(url: str, accepted: list[str]) -> bool:
    return statuses(url).keys() == {"delivered"} and set(accepted) <= {each.event_id for each in all_deliveries(url)}
