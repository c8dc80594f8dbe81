"""Attempts that an event protocol makes itself: real processes, on both stores."""

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.commands import extension_kit
from tests.support.durable import prepared, store_of
from tests.support.paths import KIT
from tests.support.servers import Served, ready, run_server
from tests.support.waiting import wait_until

DELIVERED = {"result": "delivered", "status": 201, "excerpt": "said so"}
SOON = {"result": "failed", "error": "answered 503", "status": 503, "retry_in": 0.05}


class Attempts(NamedTuple):
    """A server of the extension with its worker, and what it is started with."""

    server: Served
    ledger: Path
    environment: dict[str, object]

    def post(self, path, **body):
        answer = self.server.request("POST", path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        assert answer.status == 200, answer.body
        return answer.json

    def subscribe(self, *patterns, **more):
        """Make a subscription, and return its number."""
        return self.post("/attempts/subscriptions", name=uuid.uuid4().hex, patterns=patterns, **more)

    def command(self, *arguments):
        done = extension_kit("deliveries", *arguments, **self.environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def deliveries(self, event_id):
        """The deliveries of an event as the command shows them, oldest first."""
        return json.loads(self.command("list", "--event-id", event_id, "--json"))[::-1]

    def history(self, event_id):
        """The attempts of the only delivery of an event as the command shows them."""
        (delivery,) = self.deliveries(event_id)
        shown = json.loads(self.command("show", str(delivery["delivery"]), "--json"))
        return [(each["result"], each["status"], each["error"], each["excerpt"]) for each in shown["history"]]

    def lines(self, event_id):
        return [line for line in self.ledger.read_text().splitlines() if line.split()[1] == event_id]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def running(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp("attempts")
    ledger = directory / "ledger"
    ledger.touch()
    with store_of(request, directory, ()) as url:
        environment = prepared(url, ledger)
        with run_server([KIT, "serve", "attempts.py"], directory / "log", **environment) as server:
            yield Attempts(ready(server), ledger, environment)


@pytest.fixture
def deliver(running) -> Callable[..., str]:
    """Deliver an event to a subscription of its own, and return its id once the delivery has this status."""

    def deliver(outcomes, status, **more):
        event_id = uuid.uuid4().hex
        recorded = running.post("/attempts/events", id=event_id, outcomes=outcomes, to=[running.subscribe(**more)])
        assert recorded == {"is_new": True, "place": None, "deliveries": 1}
        wait_until(lambda: [each["status"] for each in running.deliveries(event_id)] == [status])
        return event_id

    return deliver


def test_only_the_named_subscriptions_get_it(running):
    one, other, _, everything = (running.subscribe(*patterns) for patterns in ((), (), (), ("*",)))
    running.post("/attempts/events", id="to-two", outcomes=[DELIVERED], to=[other, one, other])
    wait_until(lambda: [each["status"] for each in running.deliveries("to-two")] == ["delivered"] * 2)
    named = {f"subscription:{ref}" for ref in (one, other)}
    assert {each["listener"] for each in running.deliveries("to-two")} == named
    running.post("/attempts/events", id="to-all", outcomes=[DELIVERED])
    wait_until(lambda: [each["status"] for each in running.deliveries("to-all")] == ["delivered"] * 2)
    listeners = {each["listener"] for each in running.deliveries("to-all")}
    assert listeners == {"extension-attempts.heard@/events/heard", f"subscription:{everything}"}
    assert sorted(line.split()[0] for line in running.lines("to-two")) == ["sent", "sent"]
    assert sorted(line.split()[0] for line in running.lines("to-all")) == ["heard", "sent"]


def test_an_attempt_that_succeeds_is_the_only_one(running, deliver):
    event_id = deliver([DELIVERED], "delivered")
    assert running.history(event_id) == [("delivered", 201, None, "said so")]
    assert len(running.lines(event_id)) == 1


def test_a_failure_is_repeated_when_the_protocol_says(running, deliver):
    """The schedule would have it wait for ten minutes."""
    event_id = deliver([SOON, SOON, DELIVERED], "delivered")
    failed = ("failed", 503, "answered 503", None)
    assert running.history(event_id) == [failed, failed, ("delivered", 201, None, "said so")]


def test_a_failure_at_the_end_of_the_schedule_is_a_dead_letter(running, deliver):
    event_id = deliver([SOON, SOON], "dead", retry=[600])
    assert running.history(event_id) == [("failed", 503, "answered 503", None)] * 2


def test_a_refusal_is_a_dead_letter_at_once_and_can_be_replayed(running, deliver):
    event_id = deliver([{"result": "refused", "error": "it is no longer wanted"}, DELIVERED], "dead")
    (dead,) = running.deliveries(event_id)
    assert (dead["attempts"], dead["error"]) == (1, "it is no longer wanted")
    running.command("replay", str(dead["delivery"]))
    wait_until(lambda: running.deliveries(event_id)[0]["status"] == "delivered")
    assert len(running.lines(event_id)) == 2


def test_an_exception_is_a_failure_by_the_schedule(running, deliver):
    event_id = deliver(["raise", "raise"], "dead", retry=[0.05])
    assert running.history(event_id) == [("failed", None, "RuntimeError: the other system is odd", None)] * 2


def test_a_protocol_may_give_up(running, deliver):
    event_id = deliver(["give up"], "dead")
    assert running.history(event_id) == [("refused", None, "the other system is gone", None)]


def test_an_attempt_whose_process_died_is_made_again(running, deliver):
    event_id = deliver(["die", DELIVERED], "delivered", retry=[0.05])
    assert [result for result, *_ in running.history(event_id)] == ["lost", "delivered"]
    assert len(running.lines(event_id)) == 2


def test_the_commands_show_the_subscription_and_the_event(running, deliver):
    event_id = deliver([{"result": "refused", "error": "it is no longer wanted"}], "dead")
    (dead,) = running.deliveries(event_id)
    line = running.command("list", "--event-id", event_id, "--status", "dead").splitlines()[1]
    assert line.split()[:2] == [str(dead["delivery"]), "dead"]
    assert f"attempts.made           {dead['listener']}  it is no longer wanted" in line
    shown = running.command("show", str(dead["delivery"])).splitlines()
    assert f"listener:        {dead['listener']}" in shown
    assert "error:           it is no longer wanted" in shown
    assert '    "result": "refused",' in shown
    assert running.command("list", "--listener", dead["listener"]).count(event_id) == 0
