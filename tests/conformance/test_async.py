"""Async functions, served as people serve them, on both stores."""

import signal
from collections import Counter

import pytest

from tests.support.durable import all_attempts
from tests.support.ledgers import ended, lines, run_event, strictly_ordered, wait_for_all
from tests.support.servers import GUNICORN, listens, ready, run_server
from tests.support.waiting import wait_until

STOP = "killswitch.engaged"


def post(server, event, path, *ids):
    for each in ids:
        assert server.post(f"/events/{path}", event(STOP, id=each)).status == 200


def names(prefix, number):
    return [f"{prefix}{each}" for each in range(number)]


@pytest.fixture
def serve_waits(serve):
    def serve_waits(**environment):
        return serve(app="waits.py", **environment)

    return serve_waits


def test_a_thousand_slow_calls_run_at_the_same_time_on_few_threads(serve, work, ledger, event):
    ids = names("e", 1000)
    with serve("--no-worker", app="waits.py") as server:
        post(ready(server), event, "waits", *ids)
    # None of them ends before nearly all of them run.
    with work(app="waits.py", SECONDS=5):
        wait_until(lambda: sorted(ended(ledger)) == sorted(ids), timeout=60)
    running = [(int(number), int(threads)) for number, threads in lines(ledger, "running")]
    assert max(number for number, _ in running) > 500
    assert max(threads for _, threads in running) < 60  # 24 for plain functions, and a few of the worker itself
    assert len(lines(ledger, "start")) == 1000


def test_plain_functions_are_run_while_async_ones_use_all_their_attempts(serve_waits, ledger, event):
    with serve_waits(EXTENSION_WORKER_ASYNC_ATTEMPTS=4, SECONDS=3600, EXTENSION_GRACE_PERIOD=1) as server:
        post(ready(server), event, "waits", *names("e", 20))
        wait_until(lambda: len(lines(ledger, "start")) >= 4)
        post(server, event, "plain", *names("p", 50))
        wait_for_all(names("p", 50), ledger)
        assert len(lines(ledger, "start")) <= 6  # a half more than four
        assert server.stop() == 128 + signal.SIGTERM


def test_in_order_through_retries(serve_waits, ledger, event):
    with serve_waits() as server:
        ready(server)
        for number in range(6):
            for key in range(5):
                assert server.post("/events/ordered", run_event(event, key, number)).status == 200
        wait_until(lambda: len(ended(ledger)) == 30)
    assert strictly_ordered(ledger)
    assert Counter(each for each, _ in lines(ledger, "start") if each.endswith("3")) == {f"{n}-3": 2 for n in range(5)}


def test_what_a_function_decides_is_done(serve_waits, ledger, event):
    with serve_waits() as server:
        ready(server)
        post(server, event, "gives-up", "g")
        post(server, event, "later", "l")
        wait_until(lambda: "is dead" in server.log and ended(ledger) == ["l"])
    assert Counter(each for each, _ in lines(ledger, "start")) == {"g": 1, "l": 2}


def test_a_function_past_its_timeout_is_cancelled_and_tried_again(serve_waits, ledger, event):
    with serve_waits() as server:
        post(ready(server), event, "hangs", "h")
        wait_until(lambda: "hangs of killswitch.engaged h is dead" in server.log.replace("@/events/hangs", ""))
        assert "did not return within 0.3 s" in server.log
    assert lines(ledger, "cancelled") == [["h"], ["h"]]


def test_a_kill_loses_and_doubles_nothing(serve, work, ledger, event, database_url):
    ids = names("e", 100)
    with serve("--no-worker", app="waits.py") as server:
        post(ready(server), event, "waits", *ids)
    with work(app="waits.py", SECONDS=3600) as worker:
        wait_until(lambda: len(lines(ledger, "start")) == 100)
        worker.process.kill()
        worker.process.wait(30)
    assert ended(ledger) == []
    with work(app="waits.py", SECONDS=0.01):
        wait_until(lambda: len(ended(ledger)) == 100, timeout=60)
        wait_until(lambda: Counter(each.result for each in all_attempts(database_url))["delivered"] == 100)
    assert sorted(ended(ledger)) == sorted(ids)
    assert Counter(each.result for each in all_attempts(database_url)) == {"lost": 100, "delivered": 100}


def test_what_does_not_end_in_the_grace_period_is_handed_back_and_cancelled(serve_waits, work, ledger, event):
    with serve_waits(EXTENSION_GRACE_PERIOD=1, EXTENSION_FUNCTION_TIMEOUT=3600, SECONDS=3600) as server:
        post(ready(server), event, "waits", *names("e", 20))
        wait_until(lambda: len(lines(ledger, "start")) == 20)
        assert server.stop() == 128 + signal.SIGTERM
        assert "Traceback" not in server.log
    with work(app="waits.py", SECONDS=0.01):
        wait_for_all(names("e", 20), ledger)
    assert len(ended(ledger)) == 20


def test_a_function_that_blocks_the_loop_fails_and_others_do_not(serve_waits, ledger, event, database_url):
    with serve_waits(SECONDS=2, EXTENSION_FUNCTION_TIMEOUT=3) as server:
        post(ready(server), event, "waits", "w")
        wait_until(lambda: lines(ledger, "start"))
        post(server, event, "blocks", "b")
        wait_until(lambda: "blocks the event loop" in server.log)
        wait_until(lambda: "did not return within 1 s, and blocked the event loop" in server.log)
        assert ended(ledger) == []
        with ledger.open("a") as file:
            file.write("unblock\n")
        wait_until(lambda: ended(ledger) == ["w"])
        wait_until(lambda: "delivered" in {each.result for each in all_attempts(database_url)})
    assert Counter(each.result for each in all_attempts(database_url)) == {"failed": 1, "delivered": 1}


def test_a_worker_with_a_blocked_loop_stops_and_its_other_attempts_are_made_again(
    serve, work, ledger, event, database_url
):
    slowly = {"SECONDS": 3600, "EXTENSION_FUNCTION_TIMEOUT": 3600, "EXTENSION_GRACE_PERIOD": 1}
    with serve(app="waits.py", **slowly) as server:
        post(ready(server), event, "waits", "w")
        wait_until(lambda: lines(ledger, "start"))
        post(server, event, "blocks", "b")
        wait_until(lambda: "and blocked the event loop" in server.log)
        assert server.stop() == 128 + signal.SIGTERM
    with work(app="waits.py", SECONDS=0.01):
        wait_for_all(["w"], ledger)
        wait_until(lambda: len(all_attempts(database_url)) == 3)
    assert Counter(each.result for each in all_attempts(database_url)) == {
        "failed": 1,
        "handed back": 1,
        "delivered": 1,
    }


def test_immediate_functions_run_on_a_loop_before_the_answer(serve_waits, ledger, event):
    with serve_waits() as server:
        post(ready(server), event, "at-once", "good")
        assert ended(ledger) == ["good"]
        answer = server.post("/events/at-once", event(STOP, id="bad"))
        assert (answer.status, answer.json["detail"]) == (500, "a bad event")
    assert {thread for _, thread in lines(ledger, "start")} == {"function-loop"}


def test_a_wsgi_server_runs_them_too(environment, tmp_path, ledger, event):
    command = [*GUNICORN, "extension_kit.wsgi:create_app('waits.py')"]
    with run_server(command, tmp_path / "log", **environment, SECONDS=0.1) as server:
        wait_until(lambda: listens(server))
        post(server, event, "waits", *names("e", 20))
        post(server, event, "at-once", "now")
        wait_for_all([*names("e", 20), "now"], ledger)
        server.stop()
    assert "Traceback" not in server.log
