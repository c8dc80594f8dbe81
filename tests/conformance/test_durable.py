"""Durable listeners, served as people serve them, on both stores: nothing that was answered with 200 is lost."""

import http.client
import os
import random
import signal
import threading
from collections import Counter
from typing import NamedTuple

import pytest

from extension_kit.deliveries.attempt import SUSPECT
from tests.support.durable import prepared, store_of
from tests.support.ledgers import Since, ended, lines, run_event, strictly_ordered
from tests.support.paths import KIT
from tests.support.servers import Served, ready, run_server
from tests.support.waiting import wait_until


class Shared(NamedTuple):
    server: Served
    environment: dict[str, object]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared(request, tmp_path_factory):
    """A server with its worker for the tests that leave it as it is; no two of them send events with the same id."""
    directory = tmp_path_factory.mktemp("shared")
    ledger = directory / "ledger"
    ledger.touch()
    with store_of(request, directory, ()) as url:
        environment = prepared(url, ledger)
        with run_server([KIT, "serve", "ledger.py"], directory / "log", **environment) as server:
            yield Shared(ready(server), environment)


@pytest.fixture
def added(shared):
    """What a test adds to the ledger of the shared server."""
    return Since(shared.environment["LEDGER"])


class TestServing:
    def test_an_event_is_answered_at_once_and_run_by_the_worker(self, shared, added, event):
        assert shared.server.post("/events/slow", event("killswitch.engaged", id="slow")).status == 200
        assert ended(added) == []
        wait_until(lambda: ended(added) == ["slow"])

    def test_the_same_event_is_run_once_for_each_path_whatever_process_gets_it(self, shared, added, event, tmp_path):
        body = event("experiment.execution.created", id="twice")
        for path in ("/events/plain", "/events/plain", "/events/slow", "/events/slow"):
            assert shared.server.post(path, body).status == 200
        wait_until(lambda: len(ended(added)) == 2)
        command = [KIT, "serve", "ledger.py", "--no-worker"]
        with run_server(command, tmp_path / "log", **shared.environment) as other:
            ready(other)
            for path in ("/events/plain", "/events/slow", "/events/later"):
                assert other.post(path, body).status == 200
            wait_until(lambda: len(ended(added)) == 3)
            # What had been made of the first two would have been run by the end of this.
            assert other.post("/events/slow", event("killswitch.engaged", id="after")).status == 200
            wait_until(lambda: "after" in ended(added))
        assert Counter(ended(added)) == {"twice": 3, "after": 1}

    def test_what_was_not_done_is_done_after_a_restart(self, serve, ledger, event):
        with serve("--no-worker") as server:
            ready(server)
            for number in range(5):
                assert server.post("/events/plain", run_event(event, 1, number)).status == 200
            assert server.stop() == 143
        assert ended(ledger) == []
        with serve() as server:
            ready(server)
            wait_until(lambda: ended(ledger) == [f"1-{number}" for number in range(5)])

    def test_sigterm_lets_what_runs_end_and_hands_the_rest_over(self, serve, work, ledger, event):
        with serve(EXTENSION_WORKER_THREADS=2, SLOW=0.5) as server:
            ready(server)
            for number in range(6):
                assert server.post("/events/slow", event("killswitch.engaged", id=f"e{number}")).status == 200
            wait_until(lambda: len(lines(ledger, "start")) >= 2)
            assert server.stop() == 143
        assert {event_id for event_id, *_ in lines(ledger, "start")} == set(ended(ledger))
        with work(SLOW=0):
            wait_until(lambda: set(ended(ledger)) == {f"e{number}" for number in range(6)})
        assert max(Counter(ended(ledger)).values()) == 1

    def test_restarts_use_up_no_attempts(self, serve, work, ledger, event):
        for number in (1, 2):  # as many as there are attempts
            with serve(SLOW=3600, RETRY="0.05", EXTENSION_GRACE_PERIOD=1) as server:
                ready(server)
                if number == 1:
                    assert server.post("/events/slow", event("killswitch.engaged", id="a")).status == 200
                wait_until(lambda number=number: len(lines(ledger, "start")) == number)
                assert server.stop() == 143
        with work(SLOW=0, RETRY="0.05"):
            wait_until(lambda: ended(ledger) == ["a"])


class TestRetrying:
    def test_in_order_through_retries(self, shared, added, event):
        for number in range(10):
            for key in range(3):
                assert shared.server.post("/events/fails-first", run_event(event, key, number)).status == 200
        wait_until(lambda: len(ended(added)) == 30)
        assert strictly_ordered(added)
        assert len(lines(added, "start")) == 60

    @pytest.mark.parametrize(("path", "starts"), [("always-fails", 3), ("gives-up", 1), ("hangs", 2)])
    def test_a_delivery_that_cannot_succeed_becomes_a_dead_letter(self, shared, added, event, path, starts):
        assert shared.server.post(f"/events/{path}", event("killswitch.engaged", id=path)).status == 200
        wait_until(lambda: f"{path} is dead" in shared.server.log, timeout=60)
        assert len(lines(added, "start")) == starts
        assert shared.server.post("/events/slow", event("killswitch.engaged", id=f"after-{path}")).status == 200
        wait_until(lambda: ended(added) == [f"after-{path}"])
        assert shared.server.log.count(f"{path} is dead") == 1

    def test_one_that_kills_the_worker_becomes_a_dead_letter_and_what_is_under_way_beside_it_does_not(
        self, serve, ledger, event
    ):
        with serve(app="poison.py") as server:
            ready(server)
            for path in ("innocent", "poison"):
                assert server.post(f"/events/{path}", event("killswitch.engaged", id=path)).status == 200
            wait_until(lambda: "is dead" in server.log and ended(ledger), timeout=60)
            assert ended(ledger) == ["innocent"]
            # Three attempts by its schedule, and two before: the first losses in a row may be another's fault.
            assert len(lines(ledger, "poison")) == SUSPECT + 3
            assert server.post("/events/innocent", event("killswitch.engaged", id="after")).status == 200
            wait_until(lambda: ended(ledger) == ["innocent", "after"], timeout=60)
            assert server.log.count("is dead") == 1

    def test_a_function_can_say_when_to_come_again(self, shared, added, event):
        assert shared.server.post("/events/later", event("killswitch.engaged", id="later")).status == 200
        wait_until(lambda: ended(added) == ["later"])

    def test_a_target_event_knows_its_step(self, shared, added, event):
        step = event("experiment.execution.step-started", id="s", execution_id=7, custom_label="Stop-it")
        step_id = step["experimentStepExecution"]["id"]
        target = event("experiment.execution.target-started", id="t", execution_id=7, step_execution_id=step_id)
        target["tenant"] = step["tenant"]
        shared.server.post("/events/steps", step)
        shared.server.post("/events/steps", target)
        wait_until(lambda: len(lines(added, "step")) == 2)
        assert lines(added, "step") == [["s", "Stop-it"], ["t", "Stop-it"]]


class TestKilling:
    def test_two_workers_share_the_work_in_order_and_one_takes_over_when_the_other_is_killed(
        self, serve, work, ledger, event
    ):
        """Events of 5 keys, every first attempt fails; then kill -9 in the middle of more of them."""

        def send(numbers):
            for number in numbers:
                for key in range(5):
                    assert server.post("/events/fails-first", run_event(event, key, number)).status == 200

        with serve("--no-worker") as server:
            ready(server)
            with work() as first, work() as second:
                send(range(10))
                wait_until(lambda: len(ended(ledger)) == 50, timeout=60)
                assert len(lines(ledger, "start")) == 100
                send(range(10, 20))
                wait_until(lambda: len(ended(ledger)) > 60)
                os.killpg(first.process.pid, signal.SIGKILL)
                first.process.wait(10)
                wait_until(lambda: len(set(ended(ledger))) == 100, timeout=60)
                assert second.process.poll() is None
        assert strictly_ordered(ledger)
        starts = Counter(event_id for event_id, *_ in lines(ledger, "start"))
        # Two starts each; one more only where an attempt was under way, of which there are no more than threads.
        assert sum(starts.values()) - 200 <= 16
        assert max(Counter(ended(ledger)).values()) <= 2

    def test_a_worker_that_dies_is_started_again(self, shared, added, event):
        assert shared.server.post("/events/plain", run_event(event, 20, 0)).status == 200
        wait_until(lambda: ended(added) == ["20-0"])
        for pid in shared.server.children("worker"):
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: "Delivery worker exited (code -9)" in shared.server.log)
        assert shared.server.post("/events/plain", run_event(event, 20, 1)).status == 200
        # The first may have been killed before its end was written down, and then it is made again.
        wait_until(lambda: list(dict.fromkeys(ended(added))) == ["20-0", "20-1"])

    def test_killed_web_processes_lose_nothing_they_said_200_to(self, serve, ledger, event):
        rounds = 8
        accepted: set[str] = set()
        random.seed(5)
        with serve() as server:
            ready(server)
            for turn in range(rounds):
                stop = threading.Event()

                def send(sender, turn=turn, stop=stop):
                    number = 0
                    while not stop.is_set():
                        event_id = f"{turn}.{sender}.{number}"
                        body = event("killswitch.engaged", id=event_id)
                        try:
                            if server.post("/events/fast", body).status == 200:
                                accepted.add(event_id)
                        except (OSError, http.client.HTTPException):
                            pass
                        number += 1

                senders = [threading.Thread(target=send, args=(sender,)) for sender in range(3)]
                for sender in senders:
                    sender.start()
                before = len(accepted)
                wait_until(lambda before=before: len(accepted) > before + random.randrange(1, 30))
                for pid in server.children("serve"):
                    os.kill(pid, signal.SIGKILL)
                stop.set()
                for sender in senders:
                    sender.join(60)
                wait_until(lambda: server.health("readiness") == 200)
            wait_until(lambda: accepted <= set(ended(ledger)), timeout=60)
        assert len(accepted) > rounds
