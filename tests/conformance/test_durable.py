"""Durable listeners, served as people serve them, on both stores: nothing that was answered with 200 is lost."""

import http.client
import os
import random
import signal
import threading
from collections import Counter

import pytest

from tests.conftest import serve_app, wait_until


def ready(server):
    def is_ready():
        assert server.process.poll() is None, server.log
        return server.health("readiness") == 200

    wait_until(is_ready)
    return server


def lines(ledger, word):
    return [line.split()[1:] for line in ledger.read_text().splitlines() if line.startswith(f"{word} ")]


def ended(ledger):
    return [event_id for event_id, *_ in lines(ledger, "end")]


def run_event(event, key, number, name="experiment.execution.created"):
    return event(name, id=f"{key}-{number}", execution_id=key)


def strictly_ordered(ledger):
    """Whether no run of an event began before the one before it, of the same experiment run, had ended."""
    done = Counter()
    for line in ledger.read_text().splitlines():
        word, event_id, _ = line.split()
        key, _, number = event_id.partition("-")
        if word == "end":
            done[key] = max(done[key], int(number) + 1)
        elif int(number) > done[key]:
            return False
    return True


class TestServing:
    def test_an_event_is_answered_at_once_and_run_by_the_worker(self, serve, ledger, event):
        with serve() as server:
            ready(server)
            assert server.post("/events/slow", event("killswitch.engaged", id="a")).status == 200
            assert ended(ledger) == []
            wait_until(lambda: ended(ledger) == ["a"])
            assert server.stop() == 143

    def test_the_same_event_is_run_once_for_each_path_whatever_process_gets_it(self, serve, ledger, event):
        body = event("experiment.execution.created", id="twice")
        with serve() as server:
            ready(server)
            for path in ("/events/plain", "/events/plain", "/events/slow", "/events/slow"):
                assert server.post(path, body).status == 200
            wait_until(lambda: len(ended(ledger)) == 2)
            assert server.stop() == 143
        with serve() as server:
            ready(server)
            for path in ("/events/plain", "/events/slow", "/events/later"):
                assert server.post(path, body).status == 200
            wait_until(lambda: len(lines(ledger, "end")) == 3)
        assert sorted(Counter(event_id for event_id in ended(ledger)).values()) == [3]

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

    def test_sigterm_lets_what_runs_end_and_hands_the_rest_over(self, serve, ledger, event):
        with serve(EXTENSION_WORKER_THREADS=2, SLOW=0.5) as server:
            ready(server)
            for number in range(6):
                assert server.post("/events/slow", event("killswitch.engaged", id=f"e{number}")).status == 200
            wait_until(lambda: len(lines(ledger, "start")) >= 2)
            assert server.stop() == 143
        assert {event_id for event_id, *_ in lines(ledger, "start")} == set(ended(ledger))
        with serve(SLOW=0) as server:
            ready(server)
            wait_until(lambda: set(ended(ledger)) == {f"e{number}" for number in range(6)})
        assert max(Counter(ended(ledger)).values()) == 1

    def test_restarts_use_up_no_attempts(self, serve, ledger, event):
        for number in (1, 2, 3):
            with serve(SLOW=3600, RETRY="0.05", EXTENSION_GRACE_PERIOD=1) as server:
                ready(server)
                if number == 1:
                    assert server.post("/events/slow", event("killswitch.engaged", id="a")).status == 200
                wait_until(lambda number=number: len(lines(ledger, "start")) == number)
                assert server.stop() == 143
        with serve(SLOW=0, RETRY="0.05") as server:
            ready(server)
            wait_until(lambda: ended(ledger) == ["a"])

    @pytest.mark.parametrize("edge", ["flask"])
    def test_a_bare_wsgi_server_delivers_too(self, tmp_path, environment, ledger, event, edge):
        with serve_app("ledger", tmp_path / "log", edge=edge, **environment) as server:
            assert server.post("/events/plain", run_event(event, 1, 0)).status == 200
            wait_until(lambda: ended(ledger) == ["1-0"])


class TestRetrying:
    def test_in_order_through_retries(self, serve, ledger, event):
        with serve() as server:
            ready(server)
            for number in range(10):
                for key in range(3):
                    assert server.post("/events/fails-first", run_event(event, key, number)).status == 200
            wait_until(lambda: len(ended(ledger)) == 30)
        assert strictly_ordered(ledger)
        assert len(lines(ledger, "start")) == 60

    @pytest.mark.parametrize(("path", "starts"), [("always-fails", 3), ("gives-up", 1), ("hangs", 2), ("crashes", 3)])
    def test_a_delivery_that_cannot_succeed_becomes_a_dead_letter(self, serve, ledger, event, path, starts):
        with serve() as server:
            ready(server)
            assert server.post(f"/events/{path}", event("killswitch.engaged", id="doomed")).status == 200
            wait_until(lambda: "is dead" in server.log, timeout=60)
            assert len(lines(ledger, "start")) == starts
            assert server.post("/events/plain", run_event(event, 1, 0)).status == 200
            wait_until(lambda: ended(ledger) == ["1-0"])

    def test_what_is_under_way_beside_a_delivery_that_kills_the_worker_does_not_die_with_it(self, serve, ledger, event):
        with serve(app="poison.py") as server:
            ready(server)
            for path in ("innocent", "poison"):
                assert server.post(f"/events/{path}", event("killswitch.engaged", id=path)).status == 200
            wait_until(lambda: "is dead" in server.log and ended(ledger), timeout=60)
            assert ended(ledger) == ["innocent"]
            assert len(lines(ledger, "poison")) == 3
            assert server.log.count("is dead") == 1

    def test_a_function_can_say_when_to_come_again(self, serve, ledger, event):
        with serve() as server:
            ready(server)
            assert server.post("/events/later", event("killswitch.engaged", id="a")).status == 200
            wait_until(lambda: ended(ledger) == ["a"])

    def test_a_target_event_knows_its_step(self, serve, ledger, event):
        step = event("experiment.execution.step-started", id="s", execution_id=7, custom_label="Stop-it")
        step_id = step["experimentStepExecution"]["id"]
        target = event("experiment.execution.target-started", id="t", execution_id=7, step_execution_id=step_id)
        target["tenant"] = step["tenant"]
        with serve() as server:
            ready(server)
            server.post("/events/steps", step)
            server.post("/events/steps", target)
            wait_until(lambda: len(lines(ledger, "step")) == 2)
        assert lines(ledger, "step") == [["s", "Stop-it"], ["t", "Stop-it"]]


class TestKilling:
    def test_a_killed_worker_is_taken_over_from(self, serve, work, ledger, event):
        """5 keys x 20 deliveries, every first attempt fails, kill -9 in the middle."""
        with serve("--no-worker") as server:
            ready(server)
            with work() as first:
                for number in range(20):
                    for key in range(5):
                        assert server.post("/events/fails-first", run_event(event, key, number)).status == 200
                wait_until(lambda: len(ended(ledger)) > 30)
                os.killpg(first.process.pid, signal.SIGKILL)
                first.process.wait(10)
            with work():
                wait_until(lambda: len(set(ended(ledger))) == 100, timeout=60)
        assert strictly_ordered(ledger)
        starts = Counter(event_id for event_id, *_ in lines(ledger, "start"))
        # Two starts each; one more only where an attempt was under way, of which there are no more than threads.
        assert sum(starts.values()) - 200 <= 16
        assert max(Counter(ended(ledger)).values()) <= 2

    def test_two_workers_share_the_work_in_order(self, serve, work, ledger, event):
        with serve("--no-worker") as server:
            ready(server)
            with work(), work():
                for number in range(20):
                    for key in range(5):
                        assert server.post("/events/fails-first", run_event(event, key, number)).status == 200
                wait_until(lambda: len(ended(ledger)) == 100, timeout=60)
        assert strictly_ordered(ledger)
        assert len(lines(ledger, "start")) == 200

    def test_a_worker_that_dies_is_started_again(self, serve, ledger, event):
        with serve() as server:
            ready(server)
            assert server.post("/events/plain", run_event(event, 1, 0)).status == 200
            wait_until(lambda: ended(ledger) == ["1-0"])
            for pid in server.children("worker"):
                os.kill(pid, signal.SIGKILL)
            assert server.post("/events/plain", run_event(event, 1, 1)).status == 200
            # The first may have been killed before its end was written down, and then it is made again.
            wait_until(lambda: list(dict.fromkeys(ended(ledger))) == ["1-0", "1-1"])

    def test_killed_web_processes_lose_nothing_they_said_200_to(self, serve, ledger, event):
        rounds = 20
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
