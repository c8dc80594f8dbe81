"""Receivers that die and come back, come late or never answer, with real servers and workers on both stores."""

import itertools
import json
import socket
import threading

import pytest

from extensions.pulp.tables import TABLES
from tests.extensions.pulp.notifying import mail_settings
from tests.extensions.pulp.served import PULP, Hook, bindings_of, notify, serving
from tests.support.broker import URL, Exchange, rabbitmq, relay, url_through
from tests.support.durable import database_url, postgresql_server, postgresql_url, store_of
from tests.support.mailbox import mailbox, smtp
from tests.support.receivers import receiver, server, silence
from tests.support.servers import free_port
from tests.support.waiting import wait_until

__all__ = ["database_url", "mailbox", "postgresql_server", "postgresql_url", "receiver", "server", "smtp"]  # fixtures

REPOSITORIES = ("ark", "park", "zoo")
NAMES = ("repo.sync.start", "repo.sync.finish", "repo.publish.start", "repo.publish.finish")


@pytest.fixture
def tables():
    return [TABLES]


_numbers = itertools.count(1)


def sync(server, tasks):
    """Post the events of some new tasks of each repository, as Pulp does, and return them in order."""
    numbers = [next(_numbers) for _ in range(tasks)]
    steps = [(repo_id, number, name) for number in numbers for name in NAMES for repo_id in REPOSITORIES]
    for repo_id, number, name in steps:
        assert notify(server, name, repo_id, f"{repo_id}-{number}", number=number).status == 200
    return steps


def of(repo_id, steps):
    return [step for step in steps if step[0] == repo_id]


def step_of(text):
    sent = json.loads(text)
    return sent["payload"]["repo_id"], sent["payload"]["number"], sent["event_type"]


def deliveries(api, made, **query):
    asked = "&".join(f"{name}={value}" for name, value in {"limit": 1000, **query}.items())
    return api.connection.request("GET", f"{api.path}{made['id']}/deliveries/?{asked}").response_body


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared(request, tmp_path_factory):
    """A server with its worker, for the tests that leave it as it is."""
    directory = tmp_path_factory.mktemp("shared")
    with store_of(request, directory, [TABLES]) as url, serving(url, directory / "log", PULP) as server:
        yield server


@pytest.fixture
def served(shared):
    """The shared server; what waits is discarded with its listener."""
    yield shared
    api = bindings_of(shared)
    for listener in api.list():
        api.delete(listener["id"])


def test_a_receiver_that_comes_back_on_its_port_gets_everything_that_waits_in_order(served, receiver):
    mortal, steady = Hook(receiver, port=free_port()), Hook(receiver)
    api = bindings_of(served)
    made = api.create("http", {"url": mortal.url}, ["*"])
    api.create("http", {"url": steady.url}, ["*"])
    posted = sync(served, 1)
    wait_until(lambda: len(deliveries(api, made, status="delivered")) == len(posted))
    mortal.close()
    posted += sync(served, 2)
    wait_until(lambda: set(steady.steps) == set(posted))
    waiting = wait_until(lambda: [each for each in deliveries(api, made, status="waiting") if each["attempts"]])
    assert all(each["answer"] is None and each["error"].startswith("127.0.0.1: ") for each in waiting)
    assert len(deliveries(api, made, status="waiting")) == len(posted) * 2 // 3
    mortal.open_again()
    wait_until(lambda: len(deliveries(api, made, status="delivered")) == len(posted), timeout=90)
    for repo_id in REPOSITORIES:
        assert of(repo_id, mortal.steps) == of(repo_id, steady.steps) == of(repo_id, posted)
    assert set(mortal.times.values()) == {1}


def test_a_receiver_that_never_answers_delays_neither_pulp_nor_the_others(served, receiver):
    gate = threading.Event()

    def hang(number):
        gate.set()
        return silence

    dead, steady = Hook(receiver, hang), Hook(receiver)
    api = bindings_of(served)
    made = api.create("http", {"url": dead.url}, ["*"])
    api.create("http", {"url": steady.url}, ["*"])
    posted = sync(served, 1)
    assert gate.wait(30)
    posted += sync(served, 2)
    wait_until(lambda: set(steady.steps) == set(posted))
    assert {each["status"] for each in deliveries(api, made)} == {"waiting"}
    assert dead.taken == []


@rabbitmq
def test_a_mail_server_and_a_broker_that_come_late_get_everything_that_waits_in_order(
    database_url, tmp_path, smtp, mailbox, server
):
    mail_port, broker_port = free_port(), free_port()
    variables = {**mail_settings(mail_port), "EXTENSION_PULP_AMQP_URL": url_through(broker_port)}
    exchange = Exchange(hostname=URL, binding="pulp.server.#")
    try:
        with serving(database_url, tmp_path / "log", PULP, **variables) as served:
            api = bindings_of(served)
            mailed = api.create("email", {"subject": "s", "addresses": ["a@example.com", "b@example.com"]}, ["*"])
            queued = api.create("amqp", {"exchange": exchange.name}, ["*"])
            posted = sync(served, 2)
            for made in (mailed, queued):
                wait_until(lambda made=made: any(each["attempts"] for each in deliveries(api, made)))
            smtp(sock=socket.create_server(("127.0.0.1", mail_port)))
            server(relay, port=broker_port)
            for made, expected in ((mailed, len(posted) * 2), (queued, len(posted))):
                wait_until(
                    lambda made=made, expected=expected: len(deliveries(api, made, status="delivered")) == expected,
                    timeout=90,
                )
        messages = [exchange.get() for _ in posted]
        mails = [mailbox.mail() for _ in range(len(posted) * 2)]
    finally:
        exchange.close()
    by_recipient = {"the broker": [step_of(each.body) for each in messages]}
    for mail in mails:
        by_recipient.setdefault(mail["To"], []).append(step_of(mail.get_content()))
    assert by_recipient.keys() == {"the broker", "a@example.com", "b@example.com"}
    for steps in by_recipient.values():
        for repo_id in REPOSITORIES:
            assert of(repo_id, steps) == of(repo_id, posted)
