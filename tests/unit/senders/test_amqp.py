"""Messages to brokers: kombu's in-memory transport always, RabbitMQ where TEST_AMQP_URL leads to one."""

import itertools
import os
import select
import socket
import sys
import threading
import uuid
from contextlib import suppress

import kombu
import kombu.utils.url
import pytest

from extension_kit.errors import ConfigurationError
from extension_kit.senders import Outcome
from extension_kit.senders.addresses import Addresses
from extension_kit.senders.amqp import AmqpSender
from tests.support.broker import URL, Exchange, rabbitmq
from tests.support.receivers import LOOPBACK, TIMEOUT, Server, local_addresses, message, silence


@pytest.fixture(params=["memory", pytest.param(None, marks=rabbitmq, id="rabbitmq")])
def transport(request):
    return request.param


@pytest.fixture
def url(transport):
    return URL if transport is None else "amqp://broker.test/"


@pytest.fixture
def exchange(transport):
    options = {"hostname": URL} if transport is None else {"hostname": "", "transport": "memory"}
    exchange = Exchange(**options)
    yield exchange
    exchange.close()


@pytest.fixture
def make():
    senders = []

    def create(transport=None, addresses=None, **options) -> AmqpSender:
        options = {"timeout": TIMEOUT} | options
        senders.append(AmqpSender(addresses or local_addresses(), transport=transport, **options))
        return senders[-1]

    yield create
    for sender in senders:
        sender.close()


@pytest.fixture
def target(url, exchange):
    return {"url": url, "exchange": exchange.name, "routing_key": "a.b"}


@pytest.fixture
def proxy(server):
    """Start ways to RabbitMQ that can be cut, and on which the broker can be muted: ``proxy(tls=...)``."""
    parts = kombu.utils.url.url_to_parts(URL)

    def start(tls=None) -> Server:
        ways, mute = [], threading.Event()

        def relay(connection):
            with socket.create_connection((parts.hostname, parts.port or 5672)) as onward:
                ways.append((connection, onward))
                while True:
                    decrypted = tls and connection.pending()
                    for ready in [connection] if decrypted else select.select([connection, onward], [], [], TIMEOUT)[0]:
                        if not (data := ready.recv(65536)):
                            return
                        if ready is connection:
                            onward.sendall(data)
                        elif not mute.is_set():
                            connection.sendall(data)

        def cut():
            for end in itertools.chain(*ways):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

        there = server(relay, tls=tls)
        there.cut, there.mute = cut, mute
        scheme = "amqps" if tls else "amqp"
        there.url = f"{scheme}://{parts.username}:{parts.password}@proxy.test:{there.port}/%2f"
        return there

    return start


def test_a_message_arrives_with_its_properties(make, transport, target, exchange):
    sent = message("msg_1", '{"name": "Zürich"}'.encode(), headers={"X-Event": "a.b"})
    assert make(transport).send(target, sent) == Outcome("delivered")
    got = exchange.get()
    body = got.body if isinstance(got.body, bytes) else got.body.encode()
    assert body == sent.body
    assert got.payload == {"name": "Zürich"}
    assert (got.content_type, got.content_encoding) == ("application/json", "utf-8")
    assert got.headers == {"X-Event": "a.b"}
    assert got.properties["message_id"] == "msg_1"
    assert got.properties["delivery_mode"] == 2
    assert got.delivery_info["routing_key"] == "a.b"


def test_what_no_queue_wants_is_dropped_by_the_broker(make, transport, target, exchange):
    assert make(transport).send({**target, "routing_key": "b"}, message()).result == "delivered"
    assert exchange.is_empty


def test_one_connection_is_used_again_and_closed_at_the_end(make, transport, target, exchange):
    sender = make(transport)
    for number in range(5):
        assert sender.send(target, message(f"msg_{number}")).result == "delivered"
    assert len(sender._idle) == 1
    assert [exchange.get().properties["message_id"] for _ in range(5)] == [f"msg_{number}" for number in range(5)]
    sender.close()
    assert len(sender._idle) == 0
    assert sender.send(target, message()).result == "delivered"
    assert len(sender._idle) == 0


def test_many_threads_publish_at_once(make, transport, target, exchange):
    sender, outcomes, barrier = make(transport), [], threading.Barrier(8)

    def deliver(thread):
        barrier.wait(TIMEOUT)
        outcomes.extend(sender.send(target, message(f"msg_{thread}_{number}")).result for number in range(10))

    threads = [threading.Thread(target=deliver, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    assert outcomes == ["delivered"] * 80
    assert len({exchange.get().properties["message_id"] for _ in range(80)}) == 80


def test_open_connections_are_bounded(make, exchange):
    sender = make("memory")
    for number in range(30):
        target = {"url": f"amqp://user{number}:x@broker.test/", "exchange": exchange.name, "routing_key": "a"}
        assert sender.send(target, message()).result == "delivered"
    assert len(sender._idle) <= 16


# What RabbitMQ says


@rabbitmq
@pytest.mark.parametrize("transport", [None], indirect=True)
def test_what_has_to_reach_a_queue_and_does_not_is_refused(make, target, exchange):
    sender = make()
    outcome = sender.send({**target, "routing_key": "b", "mandatory": True}, message())
    assert outcome == Outcome("refused", "127.0.0.1: no queue takes the message", 312)
    assert sender.send({**target, "mandatory": True}, message()) == Outcome("delivered")
    assert not exchange.is_empty


@rabbitmq
def test_the_brokers_own_exchange_leads_to_the_queue_of_that_name(make):
    sender = make()
    with kombu.Connection(URL) as connection:
        queue = kombu.Queue(f"test-{uuid.uuid4().hex}", exclusive=True)(connection)
        queue.declare()
        assert sender.send({"url": URL, "routing_key": queue.name, "mandatory": True}, message()).result == "delivered"
        assert queue.get(no_ack=True).properties["message_id"] == "msg_1"


@rabbitmq
def test_an_exchange_that_is_not_there_yet_is_a_failure(make):
    outcome = make().send({"url": URL, "exchange": "no-such-exchange"}, message())
    assert (outcome.result, outcome.status) == ("failed", 404)
    assert "no-such-exchange" in outcome.excerpt


@rabbitmq
@pytest.mark.parametrize(
    ("path", "login", "status"), [("//", "guest:s3cret-wr0ng", 403), ("/no-such-host", "guest:guest", 530)]
)
def test_a_broker_that_lets_nobody_in_is_a_failure(make, path, login, status):
    parts = kombu.utils.url.url_to_parts(URL)
    url = f"amqp://{login}@{parts.hostname}:{parts.port or 5672}{path}"
    outcome = make().send({"url": url, "routing_key": "x"}, message())
    assert (outcome.result, outcome.status) == ("failed", status)
    assert "s3cret" not in repr(outcome)


@rabbitmq
@pytest.mark.parametrize("transport", [None], indirect=True)
def test_a_connection_that_was_cut_while_nobody_used_it_is_replaced(make, proxy, target):
    sender, proxy = make(), proxy()
    target["url"] = proxy.url
    for number in range(3):
        assert sender.send(target, message()).result == "delivered"
        assert proxy.accepted == number + 1
        proxy.cut()
        proxy.ended.get(timeout=TIMEOUT)


@rabbitmq
@pytest.mark.parametrize("transport", [None], indirect=True)
def test_a_message_that_is_not_confirmed_in_time_is_a_failure(make, proxy, target, exchange):
    sender, proxy = make(), proxy()
    target["url"] = proxy.url
    assert sender.send(target, message()).result == "delivered"
    proxy.mute.set()
    assert sender.send({**target, "timeout": 0.3}, message("msg_2")) == Outcome("failed", "proxy.test: timed out")
    proxy.mute.clear()
    assert sender.send(target, message("msg_2")).result == "delivered"
    assert proxy.accepted == 2
    assert [exchange.get().properties["message_id"] for _ in range(3)] == ["msg_1", "msg_2", "msg_2"]


@rabbitmq
@pytest.mark.parametrize("transport", [None], indirect=True)
def test_tls_to_a_broker(make, proxy, tls_for, ca_file, target, exchange):
    sender, url = make(ca_file=ca_file), proxy(tls_for("proxy.test")).url
    assert sender.send({**target, "url": url}, message()) == Outcome("delivered")
    assert exchange.get().properties["message_id"] == "msg_1"
    outcome = sender.send({**target, "url": url.replace("proxy.test", "other.test")}, message())
    assert outcome.result == "failed"
    assert "certificate is not valid for 'other.test'" in outcome.error
    assert exchange.is_empty


# Where it is sent to


def test_a_broker_that_is_not_there(make):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    outcome = make().send({"url": f"amqp://kit:s3cret@broker.test:{port}", "routing_key": "x"}, message())
    assert outcome == Outcome("failed", "broker.test: Connection refused", unreachable=True)


@pytest.mark.parametrize("scheme", ["amqp", "amqps"])
def test_a_broker_that_says_nothing(make, server, scheme):
    target = {"url": f"{scheme}://kit:s3cret@broker.test:{server(silence).port}", "routing_key": "x", "timeout": 0.3}
    assert make().send(target, message()) == Outcome("failed", "broker.test: timed out")


@pytest.mark.parametrize("said", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"AMQP\x00\x01\x00\x00", b"\xff" * 1000, b""])
def test_what_is_no_broker_is_a_failure(make, server, said):
    there = server(lambda connection: (connection.sendall(said), connection.recv(100)))
    outcome = make().send({"url": f"amqp://broker.test:{there.port}", "routing_key": "x", "timeout": 2}, message())
    assert outcome.result == "failed"
    assert outcome.error.startswith("broker.test: ")


def test_a_certificate_that_nobody_vouches_for_is_refused(make, server, tls_for):
    there = server(silence, tls=tls_for("broker.test"))
    outcome = make().send({"url": f"amqps://broker.test:{there.port}", "routing_key": "x"}, message())
    assert outcome.result == "failed"
    assert "TLS: " in outcome.error


def test_this_machine_is_refused_unless_it_is_allowed(make, server):
    there = server(silence)
    sender = make(addresses=Addresses())
    for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]"):
        outcome = sender.send({"url": f"amqp://{host}:{there.port}", "routing_key": "x"}, message())
        assert outcome.result == "refused"
        assert "EXTENSION_DELIVERY_ALLOW_NETWORKS" in outcome.error
    assert there.accepted == 0


def test_the_next_address_is_dialled_when_one_is_dead(make, server):
    there = server(lambda connection: connection.recv(8))
    sender = make(addresses=Addresses(LOOPBACK, lambda host, port: ["127.0.0.9", "::1", "127.0.0.1"]))
    assert sender.send({"url": f"amqp://b.test:{there.port}", "routing_key": "x"}, message()).result == "failed"
    assert there.accepted == 1


def test_a_name_that_is_not_resolved_is_a_failure(make):
    sender = make(addresses=Addresses(resolve=lambda host, port: []))
    outcome = sender.send({"url": "amqp://broker.test", "routing_key": "x"}, message())
    assert outcome == Outcome("failed", "broker.test cannot be resolved", unreachable=True)


# Without kombu


def test_without_kombu_it_says_what_to_install(make, monkeypatch):
    monkeypatch.setitem(sys.modules, "kombu", None)
    monkeypatch.delitem(sys.modules, "extension_kit.senders.amqp_connection", raising=False)
    sender, target = make("memory"), {"url": "amqp://broker.test", "routing_key": "x"}
    hint = "kombu is not installed: pip install 'extension-kit[amqp]'"
    assert sender.check(target) == {"url": hint}
    assert sender.send(target, message()) == Outcome("failed", hint)


def test_kombu_is_not_imported_before_it_is_needed():
    code = "import sys, extension_kit.senders.amqp as m; sys.exit('kombu' in sys.modules)"
    assert os.spawnl(os.P_WAIT, sys.executable, sys.executable, "-c", code) == 0


# Settings and targets


def test_authorities_that_cannot_be_used_are_told_at_once(tmp_path):
    with pytest.raises(ConfigurationError, match=r"nothing\.pem"):
        AmqpSender(Addresses(), ca_file=str(tmp_path / "nothing.pem"))


@pytest.mark.parametrize(
    "target",
    [
        {"url": "amqp://broker.test", "exchange": "events"},
        {"url": "amqps://kit:p%40ss@broker.test:5671/%2fvhost", "routing_key": "queue"},
        {"url": "amqp://guest:guest@127.0.0.1:5672//", "exchange": "e", "routing_key": "a.b", "mandatory": True},
        {"url": "amqp://[::1]:5672", "exchange": "e", "timeout": 5},
    ],
)
def test_sound_targets(make, target):
    assert make().check(target) == {}


@pytest.mark.parametrize(
    ("target", "key"),
    [
        ({"url": None}, "url"),
        ({"url": "broker.test"}, "url"),
        ({"url": "memory://"}, "url"),
        ({"url": "filesystem:///etc"}, "url"),
        ({"url": "redis://broker.test"}, "url"),
        ({"url": "amqp://"}, "url"),
        ({"url": "amqp://a;amqp://b"}, "url"),
        ({"url": "amqp://bro ker.test"}, "url"),
        ({"url": "amqp://broker.test:99999"}, "url"),
        ({"url": "amqp://broker.test:0"}, "url"),
        ({"url": "amqp://[::1"}, "url"),
        ({"url": "amqps://kit:s3cret@broker.test/?ssl_cert_reqs=none"}, "url"),
        ({"exchange": "x" * 256}, "exchange"),
        ({"exchange": 5}, "exchange"),
        ({"exchange": ""}, "routing_key"),
        ({"routing_key": "ü" * 128}, "routing_key"),
        ({"mandatory": "perhaps"}, "mandatory"),
        ({"timeout": -1}, "timeout"),
        ({"queue": "q"}, "queue"),
    ],
)
def test_what_is_wrong_with_a_target_is_told_by_key_and_without_values(make, target, key):
    sender = make()
    target = {"url": "amqp://broker.test", "exchange": "e", **target}
    problems = sender.check(target)
    assert list(problems) == [key]
    assert "s3cret" not in problems[key]
    assert sender.send(target, message()).result == "refused"


def test_a_header_that_would_be_two_is_refused(make):
    outcome = make("memory").send(
        {"url": "amqp://broker.test", "exchange": "e"}, message(headers={"X-A": "1\r\nX-B: 2"})
    )
    assert outcome.result == "refused"
