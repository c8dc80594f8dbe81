"""Names that functions and files are known by: functions that look alike, files that are renamed, keys of before."""

from datetime import UTC, datetime

import pytest

from extension_kit.deliveries.entries import Entry
from extension_kit.deliveries.outbox import Outbox
from extension_kit.store.database import Database
from extension_kit.store.migrate import upgrade
from tests.support.servers import SERVE, listens, run_server
from tests.support.waiting import wait_until

ALIKE = """
from functools import partial
from pathlib import Path

from extension_kit import Extension

extension = Extension("extension-alike")

def note(who, event):
    with Path("ledger").open("a") as ledger:
        ledger.write(f"{who} {event.name}\\n")

class Pager:
    def __init__(self, who):
        self.who = who

    def page(self, event):
        note(self.who, event)

def closure(who):
    def page(event):
        note(who, event)

    return page

for word in ("failed", "completed"):
    for kind, function in {
        "closure": closure(f"closure-{word}"),
        "method": Pager(f"method-{word}").page,
        "lambda": lambda event, word=word: note(f"lambda-{word}", event),
        "partial": partial(note, f"partial-{word}"),
    }.items():
        extension.listen_to(f"experiment.execution.{word}", path="/events", name=f"{kind}-{word}")(function)
"""

ONCALL = """
from pathlib import Path

from extension_kit import Extension

extension = Extension("extension-oncall")

@extension.listen_to("killswitch.*")
def page(event):
    with Path("ledger").open("a") as ledger:
        ledger.write(f"{event.id}\\n")
"""


@pytest.fixture
def serve(tmp_path):
    """Serve a handler file of the test's directory, whose functions write to a ledger beside it."""
    database = f"sqlite:///{tmp_path}/extension.db"

    def serve(*arguments):
        log = tmp_path / "server.log"
        return run_server([*SERVE, *arguments], log, cwd=tmp_path, EXTENSION_DATABASE_URL=database)

    return serve


@pytest.fixture
def ledger(tmp_path):
    def read():
        path = tmp_path / "ledger"
        return sorted(path.read_text().splitlines()) if path.exists() else []

    return read


def test_functions_that_look_alike_get_their_own_events_and_all_of_them(tmp_path, serve, ledger, event):
    (tmp_path / "alike.py").write_text(ALIKE)
    words = ("failed", "completed")
    with serve("alike.py") as server:
        wait_until(lambda: listens(server))
        for word in words:
            assert server.post("/events", event(f"experiment.execution.{word}")).status == 200
        wait_until(lambda: len(ledger()) >= 8)
    kinds = ("closure", "lambda", "method", "partial")
    assert ledger() == sorted(f"{kind}-{word} experiment.execution.{word}" for kind in kinds for word in words)


def test_what_waits_is_found_by_a_file_that_was_renamed(tmp_path, serve, ledger, event):
    (tmp_path / "oncall.py").write_text(ONCALL)
    with serve("--no-worker", "./oncall.py") as server:
        wait_until(lambda: listens(server))
        assert server.post("/events/page", event("killswitch.engaged", id="7")).status == 200
    assert ledger() == []
    (tmp_path / "oncall.py").rename(tmp_path / "pager.py")
    with serve(str(tmp_path / "pager.py")):
        assert wait_until(ledger) == ["7"]


def test_what_an_earlier_release_has_left_is_delivered(tmp_path, serve, ledger, event):
    (tmp_path / "oncall.py").write_text(ONCALL)
    database = Database(f"sqlite:///{tmp_path}/extension.db")
    upgrade(database)
    head = ("steadybit", "7", "killswitch.engaged", None, datetime.now(UTC), b'{"id": "7"}', None)
    Outbox(database).record([Entry(*head, ("oncall.page@/events/page",))])
    database.dispose()
    with serve("oncall.py"):
        assert wait_until(ledger) == ["7"]
