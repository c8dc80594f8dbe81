"""The simulated agent against the kit's own server, as ``make run`` brings them together."""

from collections import Counter
from pathlib import Path

import pytest

from extension_kit.agent import Agent
from extension_kit.agent.recording import open_recording
from extension_kit.testing import EventFactory
from tests.support.durable import unfiled_at
from tests.support.waiting import wait_until

RUNS = Path(__file__).parents[1] / "data" / "runs.jsonl"


@pytest.fixture
def calls(tmp_path):
    """What the functions of tests/apps/answers.py note: how often each was called."""
    path = tmp_path / "calls"
    return lambda: Counter(line.split()[0] for line in path.read_text().splitlines())


@pytest.fixture
def answers(served, tmp_path):
    return lambda **options: served("answers", CALLS=tmp_path / "calls", RELEASE=tmp_path, **options)


@pytest.mark.parametrize("edge", ["asgi", "flask"])
def test_a_recording_is_played_and_what_the_extension_refuses_is_told(answers, calls, edge):
    with answers(edge=edge) as server, open_recording(str(RUNS)) as recording:
        report = Agent(server.url, fast=True).play(recording.events)
    assert report.events == recording.total == calls()["fine"]
    assert report.problems == []
    accepted = {endpoint: tally.accepted for endpoint, tally in report.tallies.items()}
    assert accepted["POST /events/fine"] == recording.total
    assert accepted["POST /events/one-kind"] == 2
    assert report.tallies["POST /events/broken"].refused == {"500": recording.total}
    assert "the pager is out of order" in report.refusals[0].reason
    assert not report.ok


def test_made_up_runs_are_accepted_to_the_letter_of_the_specification(served):
    with served("oncall", STEADYBIT_EXTENSION_VALIDATION="strict") as server:
        report = Agent(server.url, fast=True, concurrency=4).play(EventFactory().runs(20))
    assert report.ok
    assert report.sent > 0
    assert report.unwanted == report.events - report.sent


def test_events_that_come_twice_are_run_once(answers, calls):
    with answers() as server:
        report = Agent(server.url, fast=True, redeliver=True).play(EventFactory().events(30))
    assert report.tallies["POST /events/fine"].accepted == 60
    assert calls()["fine"] == 30


def test_what_is_known_already_is_told_and_not_made_again_even_after_a_restart(served, tmp_path):
    """A server that was restarted does not know it before it is filed, and so does not tell."""
    url = f"sqlite:///{tmp_path}/x.db"
    (tmp_path / "twice.py").write_text(
        "from extension_kit import Extension\nextension = Extension('x')\n"
        "@extension.listen_to('*')\ndef durable(): print('made', flush=True)\n"
        "@extension.listen_to('killswitch.*', immediate=True)\ndef immediate(): ...\n"
    )
    factory = EventFactory()
    events = [factory.event("killswitch.engaged"), factory.event("user.invited")]

    def known(report):
        assert report.ok
        return {endpoint: tally.known for endpoint, tally in report.tallies.items()}

    for restart in range(2):
        with served(str(tmp_path / "twice"), EXTENSION_DATABASE_URL=url) as server:
            for played in range(2):
                expected = {"POST /events/durable": 2 * played, "POST /events/immediate": played}
                assert known(Agent(server.url, fast=True).play(events)) == expected
            if restart == 0:
                wait_until(lambda log=server: log.log.splitlines().count("made") == 2)
            wait_until(lambda: unfiled_at(url) == 0)
    assert server.log.count("made") == 0


def test_the_registration_document_is_not_sent_again(served):
    with served("oncall", STEADYBIT_LOG_LEVEL="debug") as server:
        agent = Agent(server.url, limit=1, interval=0.01)
        report = agent.play(EventFactory().event("experiment.execution.failed") for _ in range(3))
        assert report.ok
        assert report.accepted == 3
        server.stop()
        statuses = [
            line.split("status=")[1].split()[0] for line in server.log.splitlines() if "method=GET url=/ " in line
        ]
    assert statuses == ["200", "304", "304"]
