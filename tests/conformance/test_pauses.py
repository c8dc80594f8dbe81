"""Receivers that are paused under load, with workers that are killed: order is kept, and nothing is lost or doubled."""

import itertools
import json
import os
import signal
from collections import Counter
from contextlib import ExitStack

import pytest

from extension_kit.deliveries import subscriptions
from extension_kit.deliveries.sender_pool import Senders
from extension_kit.settings.kit import Settings
from extension_kit.store.database import Database
from tests.conformance.load import load
from tests.support.commands import extension_kit
from tests.support.durable import all_attempts, all_deliveries, prepared, statuses
from tests.support.ledgers import ended, lines, strictly_ordered
from tests.support.receivers import receiver, reply
from tests.support.servers import ready
from tests.support.waiting import wait_until

__all__ = ["receiver"]  # a fixture
PLAIN = "extension-ledger.plain@/events/plain"
numbers = itertools.count(1000)


def receivers(url, *arguments):
    done = extension_kit("receivers", *arguments, EXTENSION_DATABASE_URL=url)
    assert done.returncode == 0, done.stderr
    return done.stdout


def others_are_delivered(server, event, ledger):
    """Have all workers deliver something to another listener: the events are of many runs, and so in many shards."""
    runs = [next(numbers) for _ in range(16)]
    ids = [f"other{run}" for run in runs]
    for run, each in zip(runs, ids, strict=True):
        body = event("experiment.execution.created", id=each, execution_id=run)
        assert server.post("/events/fast", body).status == 200
    wait_until(lambda: {each for each, _ in lines(ledger, "end")} >= set(ids))


def begun(ledger):
    return len(lines(ledger, "start"))


def kill(stack):
    """Kill the worker of an exit stack as it stands, with all its threads."""
    worker, own = stack
    os.killpg(worker.process.pid, signal.SIGKILL)
    own.close()


def test_a_function_under_load_with_workers_that_are_killed(serve, work, ledger, event, database_url):
    def started():
        own = ExitStack()
        return own.enter_context(work()), own

    with serve("--no-worker") as server, ExitStack() as stack:
        ready(server)
        one, two = started(), started()
        stack.callback(lambda: [own.close() for _, own in (one, two)])
        with load(server, event, "/events/plain", keys=4, pause=0.01, again=0.1) as senders:
            wait_until(lambda: len(ended(ledger)) > 20)
            assert receivers(database_url, "pause", PLAIN).startswith("Paused ")

            def is_at_rest():
                before, accepted = begun(ledger), len(senders.accepted)
                senders.wait_for_more(20)
                others_are_delivered(server, event, ledger)
                return begun(ledger) == before and len(senders.accepted) > accepted

            wait_until(is_at_rest)
            before = begun(ledger)
            kill(one)
            one = started()
            others_are_delivered(server, event, ledger)
            senders.wait_for_more(20)
        kill(two)
        kill(one)
        server.kill_all()
    assert begun(ledger) == before
    with serve("--no-worker") as server, work(), work():
        ready(server)
        others_are_delivered(server, event, ledger)
        assert begun(ledger) == before
        assert len(senders.accepted) > before
        (paused, *_) = json.loads(receivers(database_url, "list", "--json"))
        assert paused["waiting"] > 0
        assert receivers(database_url, "resume", PLAIN).startswith("Resumed ")
        wait_until(lambda: statuses(database_url).keys() == {"delivered"})
    mine = [event_id for event_id, _ in lines(ledger, "start")]
    assert Counter(mine) == Counter(senders.accepted)
    plain = [line for line in ledger.read_text().splitlines() if not line.endswith(" fast")]
    ledger.write_text("\n".join(plain))
    assert strictly_ordered(ledger)
    results = Counter(each.result for each in all_attempts(database_url) if each.event_id in set(mine))
    assert results == {"delivered": len(mine)}


@pytest.fixture
def environment(database_url, ledger):
    return {**prepared(database_url, ledger), "EXTENSION_DELIVERY_ALLOW_NETWORKS": "127.0.0.0/8"}


def test_a_subscription(serve, work, event, database_url, receiver):
    got = {"paused": [], "other": []}

    def answer(request):
        got[request.path[1:]].append(json.loads(request.body)["id"])
        return reply(200)

    there = receiver(answer=answer)
    with serve("--no-worker", app="forwards.py") as server, ExitStack() as stack:
        ready(server)
        database = Database(database_url)
        stack.callback(database.dispose)
        senders = Senders(Settings(delivery_allow_networks=()))
        keys = {}
        for name in got:
            row = {"protocol": "test", "name": name, "patterns": ["*"], "sender": "http", "retry": [0.05] * 20}
            with database.transaction() as connection:
                made = subscriptions.add(connection, senders, **row, target={"url": there.url(f"/{name}", "127.0.0.1")})
            keys[name] = made.key
        receivers(database_url, "pause", keys["paused"])
        with work(app="forwards.py"), work(app="forwards.py"):
            with load(server, event, "/events", keys=3, most=20) as sent:
                sent.wait()
            wait_until(lambda: len(got["other"]) == 60)
            assert got["paused"] == []
            receivers(database_url, "resume", keys["paused"])
            wait_until(lambda: statuses(database_url).keys() == {"delivered"})
        assert Counter(got["paused"]) == Counter(sent.accepted)
        for key in range(3):
            mine = [event_id for event_id in got["paused"] if event_id.startswith(f"{key}-")]
            assert mine == [f"{key}-{number}" for number in range(20)]
        assert Counter(each.listener for each in all_deliveries(database_url))[keys["paused"]] == 60
