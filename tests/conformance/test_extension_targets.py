"""Targets of extensions: real processes deliver to real receivers, on both stores, also when they are killed."""

import json
from base64 import b64encode
from collections import Counter

import pytest
from standardwebhooks import Webhook

from tests.support.commands import extension_kit
from tests.support.durable import all_deliveries, prepared, statuses
from tests.support.ledgers import run_event
from tests.support.paths import KIT
from tests.support.receivers import TIMEOUT, receiver, reply
from tests.support.servers import ready, run_server
from tests.support.waiting import wait_until

__all__ = ["receiver"]  # a fixture
SECRET = "whsec_" + b64encode(b"k" * 32).decode()


@pytest.fixture
def environment(database_url, tmp_path):
    return {
        **prepared(database_url, tmp_path / "ledger"),
        "EXTENSION_DELIVERY_ALLOW_NETWORKS": "127.0.0.0/8",
        "EXTENSION_DELIVERY_TIMEOUT": TIMEOUT,
        "HOOK_SECRET": SECRET,
    }


def ids(there):
    return [request.headers["webhook-id"] for request in there.requests]


def test_events_are_delivered_signed_and_in_order(receiver, environment, database_url, event, tmp_path):
    seen = Counter()

    def answer(request):
        seen[request.headers["webhook-id"]] += 1
        return reply(200 if seen[request.headers["webhook-id"]] > 1 else 503)

    there = receiver(answer=answer)
    environment["HOOK_URL"] = there.url("/hook", "127.0.0.1")
    with run_server([KIT, "serve", "targets.py"], tmp_path / "log", **environment) as server:
        ready(server)
        for number in range(5):
            for key in range(2):
                assert server.post("/events/hook", run_event(event, key, number)).status == 200
        assert server.post("/events/hook", event("killswitch.engaged", id="bad")).status == 200
        wait_until(lambda: statuses(database_url) == {"delivered": 10, "dead": 1})
    assert set(seen.values()) == {2}
    for key in range(2):
        assert list(dict.fromkeys(each for each in ids(there) if each.startswith(f"{key}-"))) == [
            f"{key}-{number}" for number in range(5)
        ]
    for request in there.requests:
        assert Webhook(SECRET).verify(request.body, request.headers)["id"] == request.headers["webhook-id"]
    (dead,) = [each for each in all_deliveries(database_url) if each.status == "dead"]
    assert (dead.event_id, dead.listener) == ("bad", "extension-targets.hook@/events/hook")
    shown = extension_kit("deliveries", "list", "--event-id", "bad", "--json", **environment)
    assert [(each["attempts"], each["error"]) for each in json.loads(shown.stdout)] == [
        (1, "ValueError: a killswitch has no run")
    ]


def test_nothing_is_lost_when_all_processes_are_killed(receiver, environment, database_url, event, tmp_path):
    there = receiver()
    environment["HOOK_URL"] = there.url("/hook", "127.0.0.1")
    accepted = []
    for place in range(3):
        with run_server([KIT, "serve", "targets.py"], tmp_path / f"log-{place}", **environment) as server:
            ready(server)
            for number in range(20):
                body = run_event(event, place, number)
                assert server.post("/events/hook", body).status == 200
                accepted.append(body["id"])
            if place < 2:
                server.kill_all()
            else:
                wait_until(lambda: statuses(database_url) == {"delivered": len(accepted)})
    assert set(ids(there)) == set(accepted)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("name", "value"), [("HOOK_URL", "nowhere"), ("HOOK_SECRET", "hush")])
def test_a_wrong_target_ends_the_start_in_one_line(environment, tmp_path, name, value):
    environment |= {"HOOK_URL": "http://127.0.0.1:1/", name: value}
    with run_server([KIT, "worker", "targets.py"], tmp_path / "log", **environment) as server:
        assert server.process.wait(TIMEOUT) == 2
        (line,) = server.log.splitlines()
    assert "extension-targets: the target of hook: " in line
    assert "hush" not in line
