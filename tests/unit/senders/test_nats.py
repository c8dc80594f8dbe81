"""Messages to subjects of a real NATS server with JetStream."""

import base64
import json
import os
import socket
import sys
import threading
from binascii import crc_hqx
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from extension_kit.senders import Outcome
from extension_kit.senders.addresses import Addresses
from extension_kit.senders.nats import NatsSender
from tests.support.nats import make_nats, nats_server
from tests.support.receivers import TIMEOUT, local_addresses, message, silence
from tests.support.waiting import wait_until

__all__ = ["make_nats", "nats_server"]  # fixtures


@pytest.fixture
def make():
    senders = []

    def create(addresses=None, **options) -> NatsSender:
        senders.append(NatsSender(addresses or local_addresses(), **{"timeout": TIMEOUT, **options}))
        return senders[-1]

    yield create
    for sender in senders:
        sender.close()


@pytest.fixture
def target(nats_server):
    nats_server.add_stream("EVENTS", "events.>")
    return {"url": f"nats://nats.test:{nats_server.port}", "subject": "events.runs"}


@pytest.fixture
def proxy(server, nats_server):
    """Start a way to the server on which its confirmations can be lost."""
    lost = threading.Event()

    def relay(connection):
        with socket.create_connection(("127.0.0.1", nats_server.port)) as onward:

            def back():
                while data := onward.recv(65536):
                    if not (lost.is_set() and b'"seq"' in data):
                        connection.sendall(data)

            threading.Thread(target=back, daemon=True).start()
            while data := connection.recv(65536):
                onward.sendall(data)

    there = server(relay)
    there.lost = lost
    return there


def test_a_message_is_stored_with_its_properties(make, nats_server, target):
    sent = message("msg_1", '{"name": "Zürich"}'.encode(), headers={"ce-type": "a.b"})
    assert make().send(target, sent) == Outcome("delivered")
    (got,) = nats_server.stored("EVENTS")
    assert (got.subject, got.data) == ("events.runs", sent.body)
    assert got.headers == {"ce-type": "a.b", "Content-Type": "application/json", "Nats-Msg-Id": "msg_1"}


def test_a_message_that_is_repeated_is_stored_once(make, nats_server, target):
    sender = make()
    for id in ("msg_1", "msg_1", "msg_2"):
        assert sender.send(target, message(id)) == Outcome("delivered")
    assert [got.headers["Nats-Msg-Id"] for got in nats_server.stored("EVENTS")] == ["msg_1", "msg_2"]


def test_a_lost_confirmation_is_a_failure_and_its_repetition_is_no_second_message(make, nats_server, target, proxy):
    sender, through = make(), {**target, "url": f"nats://proxy.test:{proxy.port}"}
    proxy.lost.set()
    assert sender.send({**through, "timeout": 0.5}, message()) == Outcome("failed", "proxy.test: timed out")
    assert len(nats_server.stored("EVENTS")) == 1
    proxy.lost.clear()
    assert sender.send(through, message()) == Outcome("delivered")
    assert len(nats_server.stored("EVENTS")) == 1


def test_connections_are_used_again_and_many_threads_publish_at_once(make, nats_server, target):
    sender, outcomes, barrier = make(), [], threading.Barrier(8)

    def deliver(thread):
        barrier.wait(TIMEOUT)
        outcomes.extend(sender.send(target, message(f"msg_{thread}_{number}")).result for number in range(10))

    threads = [threading.Thread(target=deliver, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    assert outcomes == ["delivered"] * 80
    assert len(nats_server.stored("EVENTS")) == 80
    assert 1 <= len(sender._idle) <= 8
    sender.close()
    assert len(sender._idle) == 0


def test_a_server_that_was_killed_is_unreachable_until_it_is_back(make, nats_server, target):
    sender = make()
    assert sender.send(target, message("msg_1")) == Outcome("delivered")
    nats_server.stop(how=9)
    refused = Outcome("failed", "nats.test: Connection refused", unreachable=True)
    wait_until(lambda: sender.send(target, message("msg_2")) == refused)  # the broken connection may be tried before
    nats_server.start()
    assert sender.send(target, message("msg_2")) == Outcome("delivered")
    assert len(nats_server.stored("EVENTS")) == 2


def test_a_server_that_is_frozen_takes_no_longer_than_the_timeout(make, nats_server, target):
    sender = make()
    assert sender.send(target, message("msg_1")) == Outcome("delivered")
    with nats_server.frozen():
        for _ in range(2):  # on the connection that is open, and on a new one
            assert sender.send({**target, "timeout": 0.3}, message("msg_2")) == Outcome(
                "failed", "nats.test: timed out"
            )
    assert sender.send(target, message("msg_2")) == Outcome("delivered")


def test_a_subject_that_no_stream_takes_is_a_failure(make, target):
    outcome = make().send({**target, "subject": "other"}, message())
    assert outcome == Outcome("failed", "nats.test: no stream takes the subject, or JetStream is not enabled")


def test_another_stream_than_the_named_one_gets_nothing(make, nats_server, target):
    outcome = make().send({**target, "stream": "OTHER"}, message())
    assert (outcome.result, outcome.status) == ("refused", 400)
    assert outcome.excerpt == "expected stream does not match"
    assert nats_server.stored("EVENTS") == []


def test_a_message_that_is_too_large_is_refused(make, nats_server, target):
    nats_server.add_stream("SMALL", "small", max_msg_size=10)
    outcome = make().send({**target, "subject": "small"}, message(body=b"x" * 100))
    assert (outcome.result, outcome.status) == ("refused", 400)
    assert make().send(target, message(body=b"x" * 2_000_000)).result == "failed"


@pytest.mark.parametrize(
    ("login", "authorization"),
    [("kit:s3cret@", '{user: "kit", password: "s3cret"}'), ("s3cret-token@", '{token: "s3cret-token"}')],
)
def test_a_login_of_the_url(make, make_nats, login, authorization):
    server = make_nats(f"authorization {authorization}", *login.rstrip("@").split(":")[: login.count(":") * 2])
    url = f"nats://{login}nats.test:{server.port}"
    taken = make().send({"url": url, "subject": "a"}, message())
    assert taken.error == "nats.test: no stream takes the subject, or JetStream is not enabled"
    refused = make().send({"url": url.replace("s3cret", "s3cret-too"), "subject": "a"}, message())
    assert refused == Outcome("failed", "nats.test: Authorization Violation")


class NatsKey:
    """A key of an operator (O), account (A) or user (U), as NATS writes keys: base32 with a prefix and a checksum."""

    def __init__(self, kind):
        self._key = Ed25519PrivateKey.generate()
        prefix = "ABCDEFGHIJKLMNOPQRSTUVWXYZ".index(kind) << 3
        raw = self._key.private_bytes_raw()
        self.public = self._written(bytes([prefix]) + self._key.public_key().public_bytes_raw())
        self.seed = self._written(bytes([18 << 3 | prefix >> 5, (prefix & 31) << 3]) + raw)
        self.sign = self._key.sign

    def _written(self, content):
        return base64.b32encode(content + crc_hqx(content, 0).to_bytes(2, "little")).rstrip(b"=").decode()


def jwt(issuer, subject, name, **claims):
    """A token as NATS has it: signed with such a key (ADR-14)."""

    def encoded(part):
        return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")

    body = {"iss": issuer.public, "sub": subject.public, "iat": 1, "jti": name, "name": name}
    signed = encoded({"typ": "JWT", "alg": "ed25519-nkey"}) + b"." + encoded({**body, "nats": {"version": 2, **claims}})
    return (signed + b"." + base64.urlsafe_b64encode(issuer.sign(signed)).rstrip(b"=")).decode()


def test_credentials_of_a_file(make, make_nats):
    operator, account, system, user = map(NatsKey, "OAAU")
    unlimited = {"conn": -1, "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "leaf": -1}
    of_account = jwt(operator, account, "a", type="account", limits=unlimited)
    of_system = jwt(operator, system, "s", type="account", limits=unlimited)
    server = make_nats(
        f"operator: {jwt(operator, operator, 'o', type='operator')}\nresolver: MEMORY\n"
        f"system_account: {system.public}\n"
        f'resolver_preload: {{ {account.public}: "{of_account}"\n'
        f'{system.public}: "{of_system}" }}'
    )
    of_user = jwt(account, user, "u", type="user", subs=-1, data=-1, payload=-1)
    target = {"url": f"nats://nats.test:{server.port}", "subject": "a"}
    parts = (("NATS USER JWT", of_user), ("USER NKEY SEED", user.seed))
    credentials = "".join(f"-----BEGIN {name}-----\n{text}\n------END {name}------\n" for name, text in parts)
    taken = make().send({**target, "credentials": credentials}, message())
    assert taken.error == "nats.test: no stream takes the subject, or JetStream is not enabled"
    for wrong in (credentials.replace(of_user, of_account), credentials.replace("NKEY SEED", "SEED"), ""):
        refused = make().send({**target, "credentials": wrong}, message())
        assert refused.result == "failed"
        assert "no stream takes" not in refused.error
        assert user.seed not in refused.error


def test_a_permission_that_lacks_is_named(make, make_nats):
    server = make_nats('authorization {users: [{user: "kit", password: "x", permissions: {publish: ["b"]}}]}')
    target = {"url": f"nats://kit:x@nats.test:{server.port}", "subject": "a", "timeout": 1}
    outcome = make().send(target, message())
    assert outcome.result == "failed"
    assert 'permissions violation for publish to "a"' in outcome.error.lower()


def test_tls_to_a_server_by_the_name_of_its_certificate(make, make_nats, authority, ca_file, tmp_path):
    certificate = authority.issue_cert("nats.test")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    server = make_nats(f'tls {{cert_file: "{tmp_path}/cert.pem", key_file: "{tmp_path}/key.pem"}}')
    target = {"url": f"tls://nats.test:{server.port}", "subject": "a"}
    sender = make(ca_file=ca_file)
    assert "no stream takes the subject" in sender.send(target, message()).error
    outcome = sender.send({**target, "url": target["url"].replace("nats.test", "other.test")}, message())
    assert "certificate is not valid for 'other.test'" in outcome.error
    assert "TLS: " in make().send(target, message()).error


def test_nothing_is_sent_in_the_clear_where_tls_was_asked_for(make, server):
    heard = []

    def talk(connection):
        connection.sendall(b'INFO {"server_id": "x", "version": "2.10.0", "max_payload": 1048576}\r\n')
        heard.append(connection.recv(65536))

    there = server(talk)
    target = {"url": f"tls://kit:s3cret@nats.test:{there.port}", "subject": "a", "timeout": 1}
    assert make().send(target, message()).result == "failed"
    assert b"s3cret" not in b"".join(heard)
    assert heard[0][:2] == b"\x16\x03"  # the greeting of TLS


def test_other_servers_that_a_server_names_are_not_connected_to(make, server):
    other = server(silence)

    def talk(connection):
        others = f'"connect_urls": ["127.0.0.1:{other.port}"]'
        connection.sendall(f'INFO {{"server_id": "x", "version": "2.10.0", {others}}}\r\n'.encode())
        connection.recv(10)

    target = {"url": f"nats://nats.test:{server(talk).port}", "subject": "a", "timeout": 2}
    assert make().send(target, message()).result == "failed"
    assert other.accepted == 0


# Where it is sent to


def test_a_server_that_says_nothing(make, server):
    target = {"url": f"nats://kit:s3cret@nats.test:{server(silence).port}", "subject": "x", "timeout": 0.3}
    assert make().send(target, message()) == Outcome("failed", "nats.test: timed out")


@pytest.mark.parametrize("said", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"INFO {\r\n", b"\xff" * 100_000, b""])
def test_what_is_no_server_is_a_failure(make, server, said):
    there = server(lambda connection: (connection.sendall(said), connection.recv(100)))
    outcome = make().send({"url": f"nats://nats.test:{there.port}", "subject": "x", "timeout": 2}, message())
    assert outcome.result == "failed"
    assert outcome.error.startswith("nats.test: ")


def test_this_machine_is_refused_unless_it_is_allowed(make, server):
    there = server(silence)
    sender = make(addresses=Addresses())
    for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]"):
        outcome = sender.send({"url": f"nats://{host}:{there.port}", "subject": "x"}, message())
        assert outcome.result == "refused"
        assert "EXTENSION_DELIVERY_ALLOW_NETWORKS" in outcome.error
    assert there.accepted == 0


@pytest.mark.parametrize(
    ("change", "key"),
    [
        *[({"url": url}, "url") for url in ("", "nats://", "http://a", "nats://a:0", "nats://a/b", "nats://a?b=c")],
        *[
            ({"subject": subject}, "subject")
            for subject in ("", "a.*", ">", "a b", "a..b", ".a", "a\r\nPUB", "x" * 256)
        ],
        ({"timeout": 0}, "timeout"),
        ({"exchange": "x"}, "exchange"),
    ],
)
def test_a_target_that_cannot_be_used_is_refused(make, change, key):
    target = {"url": "nats://user:s3cret@nats.test", "subject": "a.b", **change}
    assert list(make().check(target)) == [key]
    outcome = make().send(target, message())
    assert outcome.result == "refused"
    assert "s3cret" not in outcome.error


@pytest.mark.parametrize("name", ["Nats-Msg-Id", "nats-expected-stream", "CONTENT-TYPE", "a b", "a\r\nb"])
def test_headers_that_the_sender_sets_are_refused(make, name):
    target = {"url": "nats://nats.test", "subject": "a"}
    assert make().send(target, message(headers={name: "x"})).result == "refused"


# Without nats-py


def test_without_nats_py_it_says_what_to_install(make, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "nats"]:
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("senders.nats_connection", "outgoing.nats_client"):
        monkeypatch.delitem(sys.modules, f"extension_kit.{name}", raising=False)
    sender, target = make(), {"url": "nats://nats.test", "subject": "x"}
    hint = "nats-py is not installed: pip install 'extension-kit[nats]'"
    assert sender.check(target) == {"url": hint}
    assert sender.send(target, message()) == Outcome("failed", hint)


def test_nats_py_is_not_imported_before_it_is_needed():
    code = "import sys, extension_kit.senders.nats as m; sys.exit('nats' in sys.modules)"
    assert os.spawnl(os.P_WAIT, sys.executable, sys.executable, "-c", code) == 0


def greet(connection):
    """Begin as a server that takes large messages does."""
    info = {"server_id": "x", "version": "2.10.0", "max_payload": 64 * 1024**2, "headers": True, "proto": 1}
    connection.sendall(b"INFO " + json.dumps(info).encode() + b"\r\n")
    received = b""
    while b"PING" not in received:
        received += connection.recv(65536)
    connection.sendall(b"PONG\r\n")


@pytest.mark.parametrize("begin", [b"MSG x 1 99999999999\r\n", b"INFO "], ids=["a message", "a line"])
def test_what_has_no_end_is_not_kept(make, server, begin):
    sent = 0

    def flood(connection):
        nonlocal sent
        greet(connection)
        connection.sendall(begin)
        while True:
            sent += connection.send(bytes(65536))

    there = server(flood)
    outcome = make().send({"url": f"nats://flood.test:{there.port}", "subject": "a"}, message())
    assert (outcome.result, outcome.error) != ("failed", "flood.test: timed out")
    assert outcome.result == "failed"
    assert isinstance(there.ended.get(timeout=TIMEOUT), OSError)
    assert sent < 32 * 1024**2  # what the sockets of both ends hold


def connections_to(port):
    """How many sockets of processes there are that have a port at their other end."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2].endswith(f":{port:04X}") and row[9] != "0" for row in rows)


@pytest.mark.skipif(sys.platform != "linux", reason="sockets are read from /proc")
def test_a_server_that_takes_nothing_more_keeps_no_connection(make, server):
    def freeze(connection):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        greet(connection)
        thawed.wait(TIMEOUT)

    thawed = threading.Event()
    there = server(freeze)
    target = {"url": f"nats://frozen.test:{there.port}", "subject": "a", "timeout": 0.5}
    assert make().send(target, message(body=bytes(32 * 1024**2))) == Outcome("failed", "frozen.test: timed out")
    wait_until(lambda: connections_to(there.port) == 0)
    thawed.set()
