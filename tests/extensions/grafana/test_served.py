"""The extension as it is served: whole runs, failures of Grafana, and processes that are killed."""

import os
import signal
import subprocess
import threading
from collections import Counter
from contextlib import ExitStack

import pytest

from extensions.grafana.annotations import RUN_EVENTS, STEP_EVENTS
from tests.support.durable import statuses
from tests.support.paths import KIT
from tests.support.ready_made import accepting, on_sqlite, runs, send, serving, wait_for_reason, wait_until_delivered
from tests.support.servers import ready
from tests.support.vendors import json_reply
from tests.support.waiting import wait_until

PATH = "/events/annotate"


def wanted(events):
    """Those of the events that the extension listens to."""
    return [event for event in events if event["eventName"] in {*RUN_EVENTS, *STEP_EVENTS}]


def assert_each_once_and_ended(grafana, all_runs):
    """Each run and each step that started has exactly one annotation, and that has an end and a final state."""
    expected = Counter()
    for events in all_runs:
        for event in events:
            if event["eventName"] in {RUN_EVENTS[0], STEP_EVENTS[0]}:
                part = event.get("experimentExecution") or event["experimentStepExecution"]
                step = f"step_id:{part['id']}" if event["eventName"] == STEP_EVENTS[0] else ""
                expected[f"exec_id:{part['executionId']}", step] += 1
    found = Counter()
    for annotation in grafana.found():
        run, step = (
            next((tag for tag in annotation["tags"] if tag.startswith(name)), "") for name in ("exec_id:", "step_id:")
        )
        found[run, step] += 1
    assert found == expected
    for annotation in grafana.found():
        assert annotation["timeEnd"] > annotation["time"], annotation
        assert {"state:completed", "state:failed", "state:errored", "state:canceled"} & set(annotation["tags"])


def test_whole_runs(serve, grafana, database_url):
    all_runs = runs(4)
    with serve() as server:
        ready(server)
        for events in all_runs:
            send(server, PATH, events)
        wait_until_delivered(database_url, sum(len(wanted(events)) for events in all_runs))
    assert_each_once_and_ended(grafana, all_runs)
    assert set(grafana.methods()) == {"GET", "POST", "PATCH"}


def test_answers_that_are_lost(serve, grafana, database_url):
    all_runs, lost = runs(4), set()

    def loses_each_once(request):
        if request.method == "GET" or request.body in lost:
            return False
        lost.add(request.body)
        return True

    grafana.loses_answer = loses_each_once
    with serve() as server:
        ready(server)
        for events in all_runs:
            send(server, PATH, events)
        wait_until_delivered(database_url, sum(len(wanted(events)) for events in all_runs))
    assert_each_once_and_ended(grafana, all_runs)


def test_grafana_stops_and_starts(serve, grafana, database_url):
    first, second = runs(2)
    with serve() as server:
        ready(server)
        send(server, PATH, first[:4])
        wait_until_delivered(database_url, len(wanted(first[:4])))
        grafana.stop()
        send(server, PATH, first[4:] + second)
        wait_for_reason(server, "extension-grafana: ")
        assert statuses(database_url).keys() == {"delivered", "waiting"}
        grafana.start()
        wait_until_delivered(database_url, len(wanted(first + second)))
        ready(server)
    assert_each_once_and_ended(grafana, [first, second])


@pytest.mark.timeout(240)
def test_everything_is_killed_in_the_middle(serve, grafana, database_url):
    """Kill -9 as soon as Grafana has made a change, before its answer, again and again."""
    all_runs = runs(2)
    total = sum(len(wanted(events)) for events in all_runs)
    changed, killed = threading.Event(), threading.Event()

    def answers_when_killed(request):
        if request.method == "GET" or killed.is_set():
            return False
        changed.set()
        return killed.wait(30)

    grafana.loses_answer = answers_when_killed
    for number, events in enumerate(all_runs):
        with serve() as server:
            ready(server)
            send(server, PATH, events)
            assert changed.wait(30)
            server.kill_all()
            killed.set()
        if number < len(all_runs) - 1:
            changed, killed = threading.Event(), threading.Event()
    with serve() as server:
        ready(server)
        wait_until_delivered(database_url, total)
    assert_each_once_and_ended(grafana, all_runs)
    assert "GET" in grafana.methods()


@pytest.mark.timeout(240)
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_two_workers_one_of_which_is_killed(serve, grafana, database_url):
    all_runs = runs(12)
    total = sum(len(wanted(events)) for events in all_runs)
    with serve("--no-worker") as server, ExitStack() as workers:
        ready(server)
        one, _ = (workers.enter_context(serve(command="worker")) for _ in range(2))
        halves = [[events[: len(events) // 2], events[len(events) // 2 :]] for events in all_runs]
        for half, _ in halves:
            send(server, PATH, half)
        wait_until(lambda: len(grafana.found()) > 5)
        os.killpg(one.process.pid, signal.SIGKILL)
        for _, half in halves:
            send(server, PATH, half)
        wait_until_delivered(database_url, total)
    assert_each_once_and_ended(grafana, all_runs)


class TestNotReady:
    """Deliveries wait, with the reason in the readiness probe, and all of them are made later."""

    @pytest.fixture
    def recovers(self, serve, grafana, database_url):
        def recovers(spoil, mend, reason, **environment):
            (events,) = runs(1)
            spoil()
            with serve(**environment) as server:
                accepting(server)
                send(server, PATH, events)
                wait_for_reason(server, reason)
                assert statuses(database_url).keys() <= {"waiting", "unfiled"}
                assert grafana.found() == []
                mend()
                wait_until_delivered(database_url, len(wanted(events)))
                ready(server)
            assert_each_once_and_ended(grafana, [events])

        return recovers

    def test_the_token_is_refused(self, recovers, grafana):
        good = grafana.token
        recovers(
            lambda: setattr(grafana, "token", "another"),
            lambda: setattr(grafana, "token", good),
            "extension-grafana: 127.0.0.1 refuses the credentials (401)",
        )

    @on_sqlite
    def test_the_token_may_not_read(self, recovers, grafana):
        recovers(
            lambda: grafana.permissions.remove("annotations:read"),
            lambda: grafana.permissions.add("annotations:read"),
            "127.0.0.1 refuses GET with this token (403), which needs the permissions ",
        )

    @on_sqlite
    def test_the_token_may_read_only(self, serve, grafana, database_url):
        """Reading tells nothing of it, so that it is found out by an attempt."""
        (events,) = runs(1)
        grafana.permissions.remove("annotations:create")
        with serve() as server:
            ready(server)
            send(server, PATH, events)
            wait_for_reason(server, "127.0.0.1 refuses POST with this token (403), which needs the permissions ")
            grafana.permissions.add("annotations:create")
            wait_until_delivered(database_url, len(wanted(events)))
        assert_each_once_and_ended(grafana, [events])

    @on_sqlite
    def test_the_address_is_that_of_something_else(self, recovers, grafana):
        def answers_with_a_page(request):
            return b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>"

        recovers(
            lambda: setattr(grafana, "before", answers_with_a_page),
            lambda: setattr(grafana, "before", lambda request: None),
            "127.0.0.1 does not answer as Grafana does (200): is EXTENSION_GRAFANA_URL right?",
        )

    @on_sqlite
    def test_the_address_has_another_path(self, recovers, grafana):
        recovers(
            lambda: setattr(grafana, "before", lambda request: json_reply(404, {"message": "Not found"})),
            lambda: setattr(grafana, "before", lambda request: None),
            "127.0.0.1 does not answer as Grafana does (404): is EXTENSION_GRAFANA_URL right?",
        )

    @on_sqlite
    def test_there_is_no_such_dashboard(self, recovers, grafana):
        recovers(
            lambda: grafana.dashboards.clear(),
            lambda: grafana.dashboards.add("uid-1"),
            "Grafana has no dashboard with the UID of EXTENSION_GRAFANA_DASHBOARD (400)",
            EXTENSION_GRAFANA_DASHBOARD="uid-1",
        )


@on_sqlite
def test_the_token_is_shown_nowhere(serve, grafana, database_url, tmp_path):
    """Neither in logs, nor in dead letters, nor in the database, though Grafana repeats it in an answer."""
    token = grafana.token
    grafana.before = lambda request: (
        json_reply(418, {"message": f"no tea for {token}"}) if request.method == "POST" else None
    )
    (events,) = runs(1)
    environment = {**os.environ, "EXTENSION_DATABASE_URL": database_url}
    with serve(STEADYBIT_LOG_LEVEL="debug") as server:
        ready(server)
        send(server, PATH, events)
        wait_until(lambda: statuses(database_url) == {"dead": len(wanted(events))})
    listed = subprocess.run(
        [KIT, "deliveries", "list", "--status", "dead"], env=environment, capture_output=True, text=True, timeout=60
    )
    assert "no tea for" in listed.stdout, listed
    files = [path.read_bytes() for path in tmp_path.iterdir() if path.is_file()]
    assert all(token.encode() not in content for content in [listed.stdout.encode(), *files])


@pytest.mark.parametrize("missing", ["EXTENSION_GRAFANA_URL", "EXTENSION_GRAFANA_TOKEN"])
def test_it_does_not_start_without_its_settings(variables, missing, tmp_path):
    with serving("grafana", tmp_path / "log", **{**variables, missing: ""}) as server:
        assert server.process.wait(30) == 2
    (line,) = [line for line in server.log.splitlines() if line.startswith("extension-kit: ")]
    assert line.startswith(f"extension-kit: {missing} is not set: write")
