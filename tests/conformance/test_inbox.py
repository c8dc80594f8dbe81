"""Events between their answer and their filing: they survive everything, are filed once, and may be asked for."""

import os
import signal
from collections import Counter

import pytest
from sqlalchemy import select

from extension_kit.deliveries.tables import deliveries, events
from tests.conformance.load import load
from tests.support.commands import extension_kit
from tests.support.databases import opened
from tests.support.durable import statuses, unfiled_at
from tests.support.filing import filed_at
from tests.support.ledgers import ended, lines, run_event, strictly_ordered
from tests.support.servers import ready
from tests.support.waiting import wait_until

STANDS_STILL = """
import threading
from extension_kit.deliveries import filing
from ledger import LEDGER, Event, Extension, note

extension = Extension("still")
remove = filing.remove_groups

def stand_still(*given):
    if "removing" not in LEDGER.read_text():
        note("removing", "events", "now")
        threading.Event().wait()
    return remove(*given)

filing.remove_groups = stand_still

@extension.listen_to("*", path="/events/plain")
def plain(event: Event) -> None:
    note("end", event.id, "plain")
"""
"""A handler file whose first worker stands still when events are filed, but not removed from the inbox."""

STEPS = """
from ledger import Event, Extension, note

extension = Extension("steps")

@extension.listen_to("experiment.execution.step-started", path="/events/durable")
def started(event: Event) -> None:
    note("end", event.id, "durable")

@extension.listen_to("experiment.execution.target-started", path="/events/immediate", immediate=True)
def target(event: Event) -> None:
    note("step", event.id, event.step.display_name if event.step else None)
"""


@pytest.fixture
def handler_file(tmp_path):
    """Write a handler file, and return its path."""

    def handler_file(content):
        path = tmp_path / "handlers.py"
        path.write_text(content)
        return str(path)

    return handler_file


def test_a_worker_killed_between_filing_and_removing_doubles_nothing(serve, ledger, event, handler_file, database_url):
    names = [f"1-{number}" for number in range(3)]
    with serve(app=handler_file(STANDS_STILL)) as server:
        ready(server)
        first = wait_until(lambda: server.children("worker"))
        for number in range(3):
            assert server.post("/events/plain", run_event(event, 1, number)).status == 200
        wait_until(lambda: lines(ledger, "removing"))
        if database_url.startswith("sqlite"):  # on PostgreSQL both are one transaction
            # Delivered, else it is made again; one or more were filed at once.
            wait_until(lambda: statuses(database_url).keys() == {"delivered", "unfiled"})
        assert unfiled_at(database_url) == 3
        for pid in first:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: server.children("worker") - first)
        wait_until(lambda: statuses(database_url) == {"delivered": 3})
        assert server.post("/events/plain", run_event(event, 1, 3)).status == 200
        wait_until(lambda: statuses(database_url) == {"delivered": 4})
    assert ended(ledger) == [*names, "1-3"]


def test_a_web_process_killed_after_its_answer_loses_nothing(serve, work, ledger, event, database_url):
    with serve("--no-worker") as server:
        ready(server)
        for number in range(5):
            assert server.post("/events/plain", run_event(event, 1, number)).status == 200
        for pid in server.children("serve"):
            os.kill(pid, signal.SIGKILL)
        server.process.kill()
    assert unfiled_at(database_url) == 5
    with work():
        wait_until(lambda: statuses(database_url) == {"delivered": 5})
    assert ended(ledger) == [f"1-{number}" for number in range(5)]


def test_an_immediate_listener_knows_the_step_while_no_worker_runs(serve, ledger, event, handler_file, database_url):
    step = event("experiment.execution.step-started", id="s", execution_id=7, custom_label="Stop-it")
    step_id = step["experimentStepExecution"]["id"]

    def target(name):
        started = event("experiment.execution.target-started", id=name, execution_id=7, step_execution_id=step_id)
        return {**started, "tenant": step["tenant"]}

    with serve("--no-worker", app=handler_file(STEPS)) as server:
        ready(server)
        assert server.post("/events/immediate", target("before")).status == 200
        assert server.post("/events/durable", step).status == 200
        assert server.post("/events/immediate", target("unfiled")).status == 200
        assert filed_at(database_url) == 1
        assert server.post("/events/immediate", target("filed")).status == 200
    assert lines(ledger, "step") == [["before", "None"], ["unfiled", "Stop-it"], ["filed", "Stop-it"]]


@pytest.mark.parametrize("to", ["sqlite", "postgresql"])
def test_a_copy_made_meanwhile_has_what_was_accepted_before_in_its_order(
    serve, ledger, event, database_url, to, tmp_path, request
):
    """From a server that accepts all the time and files now and then."""
    if to == "sqlite":
        copy = f"sqlite:///{tmp_path}/copy.db"
    elif database_url.startswith("sqlite"):
        copy = request.getfixturevalue("postgresql_url")
    else:
        pytest.skip("copies between two databases of one server are the same")
    with serve("--no-worker") as server:
        ready(server)
        with load(server, event, "/events/plain", pause=0.005) as senders:
            senders.wait_for_more(30)
            filed_at(database_url)
            senders.wait_for_more(30)
            before = set(senders.accepted)
            done = extension_kit("db", "copy", database_url, copy)
            senders.wait_for_more(5)
        assert senders.refused == []
    assert (done.returncode, done.stderr) == (0, "")
    assert "events that had not been filed yet" in done.stdout
    assert unfiled_at(copy) == 0
    with opened(copy, upgraded=False) as database, database.read() as connection:
        query = select(events.c.event_id, deliveries.c.place).join_from(deliveries, events)
        copied = [tuple(row) for row in connection.execute(query)]
    assert before <= {event_id for event_id, _ in copied} <= set(senders.accepted)
    assert set(Counter(event_id for event_id, _ in copied).values()) == {1}
    assert all(int(event_id.partition("-")[2]) + 1 == place for event_id, place in copied)
    assert ended(ledger) == []


def test_what_was_copied_is_delivered_in_its_order(serve, work, ledger, event, database_url, tmp_path):
    copy = f"sqlite:///{tmp_path}/copy.db"
    with serve("--no-worker") as server:
        ready(server)
        for number in range(10):
            if number == 5:
                assert filed_at(database_url) == 5
            assert server.post("/events/plain", run_event(event, 1, number)).status == 200
    assert extension_kit("db", "copy", database_url, copy).returncode == 0
    with work(EXTENSION_DATABASE_URL=copy):
        wait_until(lambda: len(ended(ledger)) == 10)
        wait_until(lambda: statuses(copy) == {"delivered": 10})
    assert strictly_ordered(ledger)
    assert unfiled_at(database_url) == 5  # a copy changes nothing
