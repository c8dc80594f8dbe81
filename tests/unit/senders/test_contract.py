"""What every sender promises, asked of each of them."""

import logging
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import kombu
import kombu.utils.encoding
import pytest

from extension_kit.senders import Sender
from extension_kit.senders.amqp import AmqpSender
from extension_kit.senders.email import EmailSender
from extension_kit.senders.http import HttpSender
from extension_kit.senders.nats import NatsSender
from tests.support.broker import URL, Exchange, rabbitmq
from tests.support.mailbox import Mailbox, smtp
from tests.support.nats import make_nats, nats_server
from tests.support.receivers import TIMEOUT, local_addresses, message, reply, silence

__all__ = ["make_nats", "nats_server", "smtp"]  # fixtures
pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH")


@dataclass
class Case:
    """A sender with targets of every sort. ``arrived`` waits for a message that has arrived and returns its body."""

    at: Callable[[int], tuple[Sender, dict[str, Any]]]
    good: tuple[Sender, dict[str, Any]]
    refusing: tuple[Sender, dict[str, Any]]
    invalid: dict[str, Any]
    arrived: Callable[[], bytes]


@pytest.fixture
def mailbox():
    return Mailbox()


@pytest.fixture
def http(receiver):
    there = receiver()
    gone = receiver(answer=lambda request: reply(410))
    sender = HttpSender(local_addresses(), timeout=TIMEOUT)
    secrets = {"headers": {"Authorization": "Bearer s3cret-token"}, "username": "kit", "password": "s3cret-word"}

    def at(port):
        return sender, {"url": f"http://x.test:{port}/s3cret-path?s3cret=s3cret-query", "timeout": 0.4, **secrets}

    return Case(
        at,
        (sender, {"url": there.url(), **secrets}),
        (sender, {"url": gone.url(), **secrets}),
        {"url": "nowhere"},
        lambda: there.requests.pop(0).body,
    )


@pytest.fixture
def email(smtp, mailbox):
    def at(port):
        return EmailSender(
            "127.0.0.1",
            port=port,
            sender="kit@example.com",
            security="none",
            username="kit",
            password="s3cret-word",
            timeout=0.4,
        ), {"to": ["anna@example.org"]}

    mailbox.replies["nobody@example.org"] = ["550 No such user"] * 100
    sender = EmailSender("127.0.0.1", port=smtp(), sender="kit@example.com", security="none", timeout=TIMEOUT)
    return Case(
        at,
        (sender, {"to": ["anna@example.org"]}),
        (sender, {"to": ["nobody@example.org"]}),
        {"to": ["nobody"]},
        lambda: mailbox.mail().get_content().strip().encode(),
    )


def amqp_case(transport, url, exchange, refusing):
    sender = AmqpSender(local_addresses(), transport=transport, timeout=TIMEOUT)

    def at(port):
        url = f"amqp://kit:s3cret-word@x.test:{port}"
        return AmqpSender(local_addresses()), {"url": url, "routing_key": "x", "timeout": 0.4}

    target = {"url": url, "exchange": exchange.name, "routing_key": "a.b"}
    return Case(
        at,
        (sender, target),
        (sender, {**target, **refusing}),
        {"url": "memory://"},
        lambda: kombu.utils.encoding.str_to_bytes(exchange.get().body),
    )


@pytest.fixture
def amqp():
    exchange = Exchange(hostname="", transport="memory")
    # Kombu's memory takes every message: what is refused is one that cannot be sent.
    yield amqp_case("memory", "amqp://kit:s3cret-word@x.test", exchange, {"exchange": "x" * 300})
    exchange.close()


@pytest.fixture
def rabbit():
    exchange = Exchange(hostname=URL)
    yield amqp_case(None, URL, exchange, {"routing_key": "nobody", "mandatory": True})
    exchange.close()


@pytest.fixture
def nats(nats_server):
    nats_server.add_stream("EVENTS", "events.>")
    sender = NatsSender(local_addresses(), timeout=TIMEOUT)
    target = {"url": f"nats://kit:s3cret-word@x.test:{nats_server.port}", "subject": "events.runs"}
    return Case(
        lambda port: (
            NatsSender(local_addresses()),
            {"url": f"nats://kit:s3cret-word@x.test:{port}", "subject": "x", "timeout": 0.4},
        ),
        (sender, target),
        (sender, {**target, "stream": "OTHER"}),
        {"url": "nowhere", "subject": "x"},
        lambda: nats_server.stored("EVENTS")[-1].data,
    )


@pytest.fixture(params=["http", "email", "amqp", "nats", pytest.param("rabbit", marks=rabbitmq)])
def case(request):
    case: Case = request.getfixturevalue(request.param)
    yield case
    for sender, _ in (case.good, case.refusing):
        sender.close()


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def test_a_message_is_delivered(case):
    sender, target = case.good
    for number in range(3):
        body = f'{{"number": {number}}}'.encode()
        outcome = sender.send(target, message(f"msg_{number}", body))
        assert (outcome.result, outcome.error) == ("delivered", None)
        assert case.arrived() == body


def test_a_target_that_is_down_is_a_failure(case, caplog):
    sender, target = case.at(closed_port())
    with caplog.at_level(logging.DEBUG):
        outcome = sender.send(target, message())
    sender.close()
    assert outcome.result == "failed"
    assert "Connection refused" in outcome.error
    assert outcome.status is None
    assert "s3cret" not in repr(outcome) + repr(sender) + caplog.text


def test_a_target_that_hangs_is_given_up_within_its_timeout(case, server, caplog):
    there = server(silence)
    sender, target = case.at(there.port)
    with caplog.at_level(logging.DEBUG):
        outcome = sender.send(target, message())
    sender.close()
    assert outcome.result == "failed"
    assert "timed out" in outcome.error
    assert "s3cret" not in repr(outcome) + caplog.text
    assert there.ended.get(timeout=TIMEOUT) is None  # nothing is left open


@pytest.mark.parametrize(
    "said", [b"\x00" * 100, b"garbage\r\n" * 3, b"500 no\r\n", b""], ids=["zeros", "lines", "500", "end"]
)
def test_a_target_that_talks_nonsense_is_a_failure(case, server, said):
    def talk(connection):
        connection.sendall(said)
        connection.shutdown(socket.SHUT_WR)
        silence(connection)

    there = server(talk)
    sender, target = case.at(there.port)
    outcome = sender.send(target, message())
    sender.close()
    assert outcome.result == "failed"
    assert outcome.error
    there.ended.get(timeout=TIMEOUT)


def test_a_target_that_comes_back_is_delivered_to(case):
    broken, broken_target = case.at(closed_port())
    assert broken.send(broken_target, message()).result == "failed"
    broken.close()
    sender, target = case.good
    sender.close()
    assert sender.send(target, message()).result == "delivered"


def test_what_will_not_get_better_is_refused_and_the_next_message_is_not(case):
    sender, target = case.refusing
    outcome = sender.send(target, message())
    assert outcome.result == "refused"
    assert outcome.error
    assert sender.send(case.good[1], message()).result == "delivered"


def test_a_target_is_checked_by_key_and_an_unchecked_one_is_refused(case):
    sender, target = case.good
    assert sender.check(target) == {}
    assert list(sender.check(case.invalid)) == list(case.invalid)[:1]
    assert list(sender.check({**target, "colour": "red"})) == ["colour"]
    for wrong in (case.invalid, {}, {**target, "colour": "red"}):
        assert sender.check(wrong)
        assert sender.send(wrong, message()).result == "refused"


def test_a_target_and_a_message_are_not_changed(case):
    sender, target = case.good
    before, sent = repr(target), message(headers={"X-A": "b"})
    sender.send(target, sent)
    assert repr(target) == before
    assert sent == message(headers={"X-A": "b"})


def test_threads_share_a_sender(case):
    sender, target = case.good
    barrier, outcomes = threading.Barrier(6), []

    def deliver():
        barrier.wait(TIMEOUT)
        outcomes.extend(sender.send(target, message(f"msg_{number}")).result for number in range(5))

    threads = [threading.Thread(target=deliver) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    assert outcomes == ["delivered"] * 30
    for _ in range(30):
        assert case.arrived() == b'{"a": 1}'


def test_it_can_be_closed_at_any_time_and_more_than_once(case):
    sender, target = case.good
    outcomes = []

    def deliver():
        outcomes.extend(sender.send(target, message()).result for _ in range(10))

    threads = [threading.Thread(target=deliver) for _ in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        sender.close()
        threads[0].join(0.001)
    assert outcomes == ["delivered"] * 30
    assert sender.send(target, message()).result == "delivered"
