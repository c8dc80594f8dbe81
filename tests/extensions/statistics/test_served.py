"""The numbers are right on both stores, on every page that shows them, whatever is killed and restarted."""

import os
import signal
from collections import Counter

import pytest

from extension_kit.testing import EventFactory
from tests.support.durable import database_url, postgresql_server, postgresql_url, statuses, tables
from tests.support.metrics import scrape
from tests.support.ready_made import send, server_of, serving
from tests.support.servers import ready
from tests.support.waiting import wait_until

__all__ = ["database_url", "postgresql_server", "postgresql_url", "tables"]  # fixtures

PATH = "/events/statistics"
STATES = ("completed", "failed", "errored", "canceled", "skipped")


@pytest.fixture
def serve(database_url, tmp_path):
    return server_of("statistics", database_url, tmp_path, {})


def is_counted(body):
    word = body["eventName"].removeprefix("experiment.execution.").removeprefix("step-")
    return word in (*STATES, "created")


def counted_events(number, seed):
    return [body for body in EventFactory(seed).runs(number) if is_counted(body)]


def expected(bodies):
    """The numbers of runs and steps that the events of whole runs add up to."""
    numbers = Counter()
    for body in bodies:
        team, state = f"team={body['team']['key']}", body["eventName"].rpartition(".")[2]
        if "experimentStepExecution" in body:
            step = body["experimentStepExecution"]
            kind = {"basic": "other"}.get(step.get("actionKind"), step.get("actionKind") or "wait")
            kind = kind if kind in ("attack", "check", "load_test", "wait") else "other"
            numbers["experiment_steps_total", f"kind={kind}", f"state={state.removeprefix('step-')}", team] += 1
        elif state != "created":
            numbers["experiment_runs_total", f"state={state}", team] += 1
    return numbers


def totals(server):
    """The numbers of runs and steps on the page of a server or worker, without those that are 0."""
    found = scrape(server.health_port, "experiment_")
    return {key: value for key, value in found.items() if value and key[0].endswith("s_total")}


def running(server):
    found = scrape(server.health_port, "experiment_runs_running")
    return sum(found.values())


def is_done(database_url, number):
    return statuses(database_url) == {"delivered": number}


def test_every_end_counts_once_although_workers_are_killed(serve, database_url):
    """On PostgreSQL two workers share the runs; on SQLite one stands by."""
    bodies = counted_events(12, seed=7)
    half = len(bodies) // 2
    with serve() as server, serve(command="worker") as other:
        ready(server)
        ready(other)
        send(server, PATH, bodies[:half])
        [worker] = wait_until(lambda: server.children("worker"))
        os.kill(worker, signal.SIGKILL)
        send(server, PATH, bodies[half:])
        wait_until(lambda: server.children("worker") not in ({worker}, set()))
        wait_until(lambda: is_done(database_url, len(bodies)), 60)
        wait_until(lambda: totals(server) == expected(bodies))
        wait_until(lambda: totals(other) == expected(bodies))
        assert running(server) == 0
        send(server, PATH, [body | {"id": f"again-{number}"} for number, body in enumerate(bodies)])
        wait_until(lambda: is_done(database_url, 2 * len(bodies)), 60)
        sent = counted_events(1, seed=8)
        send(server, PATH, sent)
        wait_until(lambda: totals(server) == expected([*bodies, *sent]))


def test_numbers_go_on_after_a_restart(serve, database_url):
    first, second = counted_events(2, seed=9), counted_events(2, seed=10)
    begun = [body for body in second if body["eventName"].endswith("created")]
    with serve() as server:
        ready(server)
        send(server, PATH, [*first, *begun])
        wait_until(lambda: totals(server) == expected(first))
        wait_until(lambda: running(server) == 2)
        server.kill_all()
    with serve() as server:
        ready(server)
        wait_until(lambda: totals(server) == expected(first))
        assert running(server) == 2
        send(server, PATH, [body for body in second if body not in begun])
        wait_until(lambda: totals(server) == expected([*first, *second]))
        assert running(server) == 0


def test_a_server_without_a_worker_leaves_the_numbers_to_the_workers(serve):
    bodies = counted_events(1, seed=11)
    with serve("--no-worker") as server, serve(command="worker") as worker:
        ready(server)
        ready(worker)
        send(server, PATH, bodies)
        wait_until(lambda: totals(worker) == expected(bodies))
        assert totals(server) == {}
        assert scrape(server.health_port, "extension_events_received_total")


def test_a_wrong_setting_ends_the_start_in_one_line(tmp_path):
    setting = {"EXTENSION_STATISTICS_LABELS": "execution"}
    with serving("statistics", tmp_path / "server.log", **setting) as server:
        assert server.process.wait(60) == 2
        [line] = [line for line in server.log.splitlines() if "EXTENSION_STATISTICS_LABELS" in line]
    assert "team, environment" in line
