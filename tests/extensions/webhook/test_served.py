"""The webhook extension in real processes, on both stores, with receivers that check signatures and CloudEvents."""

import json
from base64 import b64encode
from pathlib import Path

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from standardwebhooks import Webhook

from tests.support.commands import extension_kit
from tests.support.durable import (
    all_attempts,
    all_deliveries,
    database_url,
    postgresql_server,
    postgresql_url,
    prepared,
    statuses,
    tables,
)
from tests.support.ledgers import run_event
from tests.support.paths import KIT
from tests.support.receivers import TIMEOUT, receiver, reply
from tests.support.servers import free_port, ready, run_server
from tests.support.waiting import wait_until

__all__ = ["database_url", "postgresql_server", "postgresql_url", "receiver", "tables"]  # fixtures
SECRETS = [f"whsec_{b64encode(bytes([letter]) * 32).decode()}" for letter in b"ab"]
RUN_EVENTS = 5
ROOT = Path(__file__).parents[3]


@pytest.fixture
def environment(database_url, tmp_path):
    return {
        **prepared(database_url, tmp_path / "ledger"),
        "EXTENSION_DELIVERY_ALLOW_NETWORKS": "127.0.0.0/8",
        "EXTENSION_DELIVERY_TIMEOUT": TIMEOUT,
        "EXTENSION_WEBHOOK_SECRET": " ".join(SECRETS),
    }


@pytest.fixture
def serving(environment, tmp_path):
    """Serve the extension with URLs and other settings."""

    def serving(*urls, log="log", **settings):
        given = {f"EXTENSION_WEBHOOK_{name.upper()}": value for name, value in settings.items()}
        environment.update(given, EXTENSION_WEBHOOK_URL=" ".join(urls))
        return run_server([KIT, "serve", "extensions/webhook"], tmp_path / log, cwd=ROOT, **environment)

    return serving


def url_of(there):
    return there.url("/hook", "127.0.0.1")


def post(server, *bodies):
    for body in bodies:
        assert server.post("/events/webhook", body).status == 200


def verified(request):
    """The body of a request that both secrets have signed."""
    for secret in SECRETS:
        Webhook(secret).verify(request.body, request.headers)
    return json.loads(request.body)


def test_events_arrive_signed_and_in_order_and_one_receiver_holds_up_no_other(receiver, serving, database_url, event):
    first, second = receiver(), receiver(answer=lambda request: reply(503))
    with serving(url_of(first), url_of(second), events="experiment.execution.*", headers="X-Own: 1") as server:
        ready(server)
        bodies = [run_event(event, key, number) for number in range(RUN_EVENTS) for key in range(2)]
        post(server, *bodies, event("killswitch.engaged"))
        wait_until(lambda: statuses(database_url) == {"delivered": 10, "waiting": 10} and len(second.requests) >= 2)
    assert sorted(map(str, map(verified, first.requests))) == sorted(map(str, bodies))
    for key in range(2):
        mine = [each["id"] for each in map(verified, first.requests) if each["id"].startswith(f"{key}-")]
        assert mine == [f"{key}-{number}" for number in range(RUN_EVENTS)]
    assert {request.headers["x-own"] for request in first.requests} == {"1"}
    assert {request.headers["webhook-id"] for request in second.requests} == {"0-0", "1-0"}  # the others wait
    listeners = {each.listener for each in all_deliveries(database_url)}
    assert listeners == {f"extension-webhook.127.0.0.1{number}@/events/webhook" for number in ("", "-2")}


@pytest.mark.parametrize("form", ["cloudevents", "cloudevents-binary"])
def test_a_receiver_reads_cloudevents_with_the_library(receiver, serving, database_url, event, form):
    there = receiver()
    with serving(url_of(there), format=form) as server:
        ready(server)
        body = event("experiment.execution.failed", experiment_key="SHOP-7", execution_id=34)
        post(server, body)
        wait_until(lambda: statuses(database_url) == {"delivered": 1})
    (request,) = there.requests
    verified(request)
    found = from_http_event(HTTPMessage(request.headers, request.body))
    assert (found.get_id(), found.get_type(), found.get_subject()) == (body["id"], body["eventName"], "SHOP-7/34")
    assert found.get_data() == body


def test_a_template_that_fails_on_one_event_is_a_dead_letter_with_the_reason(
    receiver, serving, environment, database_url, event, tmp_path
):
    there = receiver()
    template = tmp_path / "template.json"
    template.write_text('{"run": "{{ data.experimentExecution.executionId }}"}')
    with serving(url_of(there), format="template", template_file=template) as server:
        ready(server)
        post(server, event("experiment.execution.failed", execution_id=34), event("killswitch.engaged", id="bad"))
        wait_until(lambda: statuses(database_url) == {"delivered": 1, "dead": 1})
    assert [verified(request) for request in there.requests] == [{"run": "34"}]
    shown = extension_kit("deliveries", "list", "--status", "dead", "--json", **environment)
    (dead,) = json.loads(shown.stdout)
    assert (dead["event_id"], dead["attempts"]) == ("bad", 1)
    assert dead["error"].startswith("the template of EXTENSION_WEBHOOK_TEMPLATE_FILE, line 1: ")


def test_nothing_is_lost_when_all_processes_are_killed(receiver, serving, database_url, event):
    there = receiver()
    accepted = []
    for place in range(3):
        with serving(url_of(there), log=f"log-{place}") as server:
            ready(server)
            bodies = [run_event(event, place, number) for number in range(15)]
            post(server, *bodies)
            accepted += [body["id"] for body in bodies]
            if place < 2:
                server.kill_all()
            else:
                wait_until(lambda: statuses(database_url) == {"delivered": 45})
    for request in there.requests:
        verified(request)
    assert {request.headers["webhook-id"] for request in there.requests} == set(accepted)


def test_a_receiver_that_comes_back_gets_what_it_missed(receiver, serving, database_url, event):
    port = free_port()
    with serving(f"http://127.0.0.1:{port}/hook") as server:
        ready(server)
        post(server, event("killswitch.engaged", id="missed"))
        wait_until(lambda: [each.result for each in all_attempts(database_url)] == ["failed"])
        there = receiver(port=port)
        wait_until(lambda: statuses(database_url) == {"delivered": 1})
    assert [request.headers["webhook-id"] for request in there.requests] == ["missed"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("command", ["serve", "worker"])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"URL": "hush"}, "EXTENSION_WEBHOOK_URL"),
        ({"SECRET": "hush"}, "the target of 127.0.0.1: secret: A secret is"),
        ({"FORMAT": "template", "TEMPLATE_FILE": "template"}, "TEMPLATE_FILE is not a template: line 1: "),
    ],
)
def test_wrong_settings_end_the_start_in_one_line(environment, tmp_path, command, settings, message):
    (tmp_path / "template").write_text("{{ hush")
    given = {name: tmp_path / value if name == "TEMPLATE_FILE" else value for name, value in settings.items()}
    environment |= {
        f"EXTENSION_WEBHOOK_{name}": value for name, value in ({"URL": "http://127.0.0.1:1/"} | given).items()
    }
    with run_server([KIT, command, "extensions/webhook"], tmp_path / "log", cwd=ROOT, **environment) as server:
        assert server.process.wait(TIMEOUT) == 2
        (line,) = [each for each in server.log.splitlines() if " INF " not in each]
    assert message in line
    assert "hush" not in line
