"""The extension as it is served: whole runs, failures of Datadog, and processes that are killed."""

import itertools
import threading
from collections import Counter

import pytest

from extensions.datadog.events import EVENT_NAMES
from tests.support.durable import statuses
from tests.support.ready_made import accepting, on_sqlite, runs, send, serving, wait_for_reason, wait_until_delivered
from tests.support.servers import ready
from tests.support.vendors import json_reply
from tests.support.waiting import wait_until

PATH = "/events/send"


def wanted(all_runs):
    """The number of events that the extension listens to."""
    return sum(event["eventName"] in EVENT_NAMES for events in all_runs for event in events)


def expected_ids(all_runs):
    """The ids of the events that Datadog gets: of runs, and of targets of attacks."""
    kinds, ids = {}, []
    for event in itertools.chain.from_iterable(all_runs):
        if step := event.get("experimentStepExecution"):
            kinds[step["id"]] = step.get("actionKind")
        target = event.get("experimentStepTargetExecution")
        if event["eventName"] in EVENT_NAMES and (
            "experimentExecution" in event or (target and kinds[target["stepExecutionId"]] == "attack")
        ):
            ids.append(event["id"])
    return ids


def sent_ids(datadog):
    return [tag.partition(":")[2] for event in datadog.events for tag in event["tags"] if tag.startswith("event_id:")]


def assert_in_order(datadog, all_runs):
    """Each run's events came in its order, repetitions left out."""
    sent = list(dict.fromkeys(sent_ids(datadog)))
    for events in all_runs:
        ids = expected_ids([events])
        assert [each for each in sent if each in ids] == ids


def test_whole_runs(serve, datadog, database_url):
    all_runs = runs(4)
    with serve() as server:
        ready(server)
        for events in all_runs:
            send(server, PATH, events)
        wait_until_delivered(database_url, wanted(all_runs))
    assert Counter(sent_ids(datadog)) == Counter(expected_ids(all_runs))
    assert_in_order(datadog, all_runs)
    assert all("date_happened" in event for event in datadog.events)


def test_datadog_stops_and_starts_and_loses_answers(serve, datadog, database_url):
    all_runs, lost = runs(2), set()

    def loses_each_once(request):
        is_first = request.body not in lost
        lost.add(request.body)
        return is_first

    with serve() as server:
        ready(server)
        datadog.stop()
        for events in all_runs:
            send(server, PATH, events)
        wait_for_reason(server, "extension-datadog: ")
        datadog.loses_answer = loses_each_once
        datadog.start()
        wait_until_delivered(database_url, wanted(all_runs))
        ready(server)
    assert_in_order(datadog, all_runs)
    assert max(Counter(sent_ids(datadog)).values()) == 2


@pytest.mark.timeout(240)
def test_the_steps_of_attacks_are_known_after_everything_was_killed(serve, datadog, database_url):
    """Kill -9 when the first attack is told, whose step started in the life of the processes before."""
    (events,) = runs(1, steps=4, seed=3)
    attacked = threading.Event()
    first = next(number for number, event in enumerate(events) if event["eventName"].endswith("target-started"))
    datadog.loses_answer = lambda request: b"Attack" in request.body and not attacked.is_set() and not attacked.set()
    with serve() as server:
        ready(server)
        send(server, PATH, events[: first + 1])
        assert attacked.wait(60)
        server.kill_all()
    with serve() as server:
        ready(server)
        send(server, PATH, events[first + 1 :])
        wait_until_delivered(database_url, wanted([events]))
    assert set(sent_ids(datadog)) == set(expected_ids([events]))
    assert_in_order(datadog, [events])


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_two_workers(serve, datadog, database_url):
    all_runs = runs(10)
    with serve("--no-worker") as server, serve(command="worker"), serve(command="worker"):
        ready(server)
        for events in all_runs:
            send(server, PATH, events)
        wait_until_delivered(database_url, wanted(all_runs))
    assert Counter(sent_ids(datadog)) == Counter(expected_ids(all_runs))
    assert_in_order(datadog, all_runs)


class TestNotReady:
    """Deliveries wait, with the reason in the readiness probe, and all of them are made later."""

    @pytest.fixture
    def recovers(self, serve, datadog, database_url):
        def recovers(spoil, mend, reason):
            all_runs = runs(1)
            spoil()
            with serve() as server:
                accepting(server)
                send(server, PATH, all_runs[0])
                wait_for_reason(server, reason)
                assert statuses(database_url).keys() <= {"waiting", "unfiled"}
                assert datadog.events == []
                mend()
                wait_until_delivered(database_url, wanted(all_runs))
                ready(server)
            assert_in_order(datadog, all_runs)

        return recovers

    def test_the_key_is_refused(self, recovers, datadog):
        good = datadog.key
        recovers(
            lambda: setattr(datadog, "key", "another"),
            lambda: setattr(datadog, "key", good),
            "extension-datadog: 127.0.0.1 refuses the credentials (403)",
        )

    @on_sqlite
    def test_the_address_is_that_of_something_else(self, recovers, datadog):
        recovers(
            lambda: setattr(datadog, "before", lambda request: json_reply(404, {"errors": ["Not found"]})),
            lambda: setattr(datadog, "before", lambda request: None),
            "is EXTENSION_DATADOG_URL or EXTENSION_DATADOG_SITE right?",
        )


@on_sqlite
def test_a_body_that_is_refused_is_a_dead_letter_without_the_key(serve, datadog, database_url, tmp_path):
    key = datadog.key
    datadog.before = lambda request: (
        json_reply(413, {"errors": [f"too large for {key}"]}) if request.method == "POST" else None
    )
    all_runs = runs(1)
    with serve(STEADYBIT_LOG_LEVEL="debug") as server:
        ready(server)
        send(server, PATH, all_runs[0])
        wait_until(lambda: statuses(database_url).get("dead") == len(expected_ids(all_runs)))
    files = [path.read_bytes() for path in tmp_path.iterdir() if path.is_file()]
    assert any(b"too large for" in content for content in files)
    assert all(key.encode() not in content for content in files)


def test_it_does_not_start_without_a_key(variables, tmp_path):
    with serving("datadog", tmp_path / "log", **{**variables, "EXTENSION_DATADOG_API_KEY": ""}) as server:
        assert server.process.wait(30) == 2
    (line,) = [line for line in server.log.splitlines() if line.startswith("extension-kit: ")]
    assert line.startswith("extension-kit: EXTENSION_DATADOG_API_KEY is not set: write")
