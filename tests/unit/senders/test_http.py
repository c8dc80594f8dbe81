"""Webhooks, sent to real servers that behave, misbehave and are not there."""

import gzip
import logging
import socket
import threading
import time
from base64 import b64encode
from email.utils import formatdate
from importlib.metadata import version

import pytest
import trustme
from standardwebhooks import Webhook

from extension_kit.errors import ConfigurationError
from extension_kit.senders import Outcome
from extension_kit.senders.addresses import Addresses
from extension_kit.senders.http import HttpSender
from tests.support.receivers import LOOPBACK, TIMEOUT, drip, local_addresses, message, reply, silence

SECRET = "whsec_" + b64encode(b"k" * 32).decode()
OTHER = "whsec_" + b64encode(b"o" * 32).decode()


@pytest.fixture
def sender():
    sender = HttpSender(local_addresses(), timeout=TIMEOUT)
    yield sender
    sender.close()


def make(ca_file=None, resolve=lambda host, port: ["127.0.0.1"], allow=LOOPBACK, **options):
    return HttpSender(Addresses(allow, resolve), ca_file=ca_file, timeout=TIMEOUT, **options)


# What is sent


def test_a_message_is_posted(sender, receiver):
    there = receiver()
    outcome = sender.send({"url": there.url("/hook?a=1&b=%20")}, message(body=b'{"a": 1}'))
    assert outcome == Outcome("delivered", status=200)
    (request,) = there.requests
    assert (request.method, request.path, request.body) == ("POST", "/hook?a=1&b=%20", b'{"a": 1}')
    assert request.headers == {
        "host": f"receiver.test:{there.port}",
        "user-agent": f"extension-kit/{version('extension-kit')}",
        "content-type": "application/json",
        "content-length": "8",
        "accept-encoding": "identity",
        "webhook-id": "msg_1",
    }


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "GET"])
@pytest.mark.parametrize("body", [b"{}", b""], ids=["body", "empty"])
def test_methods(sender, receiver, method, body):
    there = receiver()
    assert sender.send({"url": there.url(), "method": method}, message(body=body)).result == "delivered"
    assert (there.requests[0].method, there.requests[0].body) == (method, body)


def test_the_targets_headers_go_before_the_messages_and_both_before_ours(sender, receiver):
    there = receiver()
    target = {"url": there.url(), "headers": {"user-agent": "Tapis/v3", "X-Both": "target"}}
    own = {"x-both": "message", "X-Own": "1", "Content-Type": "text/plain"}
    sender.send(target, message(headers=own, content_type="application/json"))
    headers = there.requests[0].headers
    expected = {"user-agent": "Tapis/v3", "x-both": "target", "x-own": "1", "content-type": "text/plain"}
    assert {name: headers[name] for name in expected} == expected


def test_a_large_body_arrives_whole(sender, receiver):
    there = receiver()
    body = b"[" + b"0," * 4_000_000 + b"0]"
    assert sender.send({"url": there.url()}, message(body=body)).result == "delivered"
    assert there.requests[0].body == body


def test_basic_authentication(sender, receiver):
    there = receiver()
    sender.send({"url": there.url(), "username": "anna", "password": "pä:ss"}, message())
    assert there.requests[0].headers["authorization"] == "Basic " + b64encode("anna:pä:ss".encode()).decode()


def test_what_is_sent_is_signed_with_each_secret_and_each_attempt_anew(sender, receiver):
    there = receiver()
    target = {"url": there.url(), "secret": f"{SECRET} {OTHER}"}
    for _ in range(2):
        assert sender.send(target, message("msg_9", '{"name": "Zürich"}'.encode())).result == "delivered"
    for request in there.requests:
        assert request.headers["webhook-id"] == "msg_9"
        for secret in (SECRET, OTHER):
            Webhook(secret).verify(request.body, request.headers)


def test_without_a_secret_nothing_is_signed(sender, receiver):
    there = receiver()
    sender.send({"url": there.url()}, message())
    assert not {"webhook-signature", "webhook-timestamp"} & there.requests[0].headers.keys()


@pytest.mark.parametrize(
    ("target", "sent"),
    [
        ({"secret": SECRET}, message(body=b"\xff")),
        ({}, message(headers={"X-A": "1\r\nX-B: 2"})),
        ({}, message(headers={"X-A: 1\r\nX-B": "2"})),
        ({}, message(headers={"Transfer-Encoding": "chunked"})),
        ({}, message(content_type="text/plain\r\nX-B: 2")),
        ({}, message("msg\r\nX-B: 2")),
        ({"method": "CONNECT"}, message()),
        ({"headers": {"Host": "other.test"}}, message()),
        ({"url": "ftp://receiver.test/"}, message()),
        ({"url": 5}, message()),
    ],
)
def test_what_cannot_be_sent_is_refused_before_anybody_is_asked(sender, receiver, target, sent):
    there = receiver()
    outcome = sender.send({"url": there.url(), **target}, sent)
    assert outcome.result == "refused"
    assert outcome.error
    assert there.server.accepted == 0


# What the answer means


@pytest.mark.parametrize(
    ("status", "target", "result"),
    [
        (200, {}, "delivered"),
        (204, {}, "delivered"),
        (299, {}, "delivered"),
        (300, {}, "failed"),
        (304, {}, "failed"),
        (400, {}, "failed"),
        (401, {}, "failed"),
        (404, {}, "failed"),
        (408, {}, "failed"),
        (410, {}, "refused"),
        (422, {}, "failed"),
        (429, {}, "failed"),
        (500, {}, "failed"),
        (503, {}, "failed"),
        (200, {"ok": [200]}, "delivered"),
        (204, {"ok": [200]}, "failed"),
        (302, {"ok": [302]}, "delivered"),
        (422, {"give_up_on": [400, 422]}, "refused"),
        (410, {"give_up_on": [400, 422]}, "failed"),
        (410, {"give_up_on": []}, "failed"),
        (410, {"ok": [410]}, "delivered"),
    ],
)
def test_statuses(sender, receiver, status, target, result):
    there = receiver(answer=lambda request: reply(status))
    outcome = sender.send({"url": there.url(), **target}, message())
    assert (outcome.result, outcome.status) == (result, status)
    assert (outcome.error is None) == (result == "delivered")
    assert outcome.error is None or str(status) in outcome.error


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        ("0", None),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("9" * 400, 86400),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86400),
        ("Wed, 21 Oct 2015 07:28:00 GMT", None),
        ("Wed, 99 Oct 2015 07:28:00 GMT", None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_the_receiver_may_ask_for_patience(sender, receiver, value, seconds, status):
    there = receiver(answer=lambda request: reply(status, Retry_After=value))
    assert sender.send({"url": there.url()}, message()).retry_after == seconds


def test_patience_until_a_date(sender, receiver):
    there = receiver(answer=lambda request: reply(503, Retry_After=formatdate(time.time() + 600, usegmt=True)))
    assert 500 < sender.send({"url": there.url()}, message()).retry_after <= 600


def test_who_gives_up_or_has_it_is_not_asked_to_wait(sender, receiver):
    for status in (200, 410):
        there = receiver(answer=lambda request, status=status: reply(status, Retry_After=5))
        assert sender.send({"url": there.url()}, message()).retry_after is None


@pytest.mark.parametrize(
    "where", ["http://169.254.169.254/latest/meta-data/", "/other", "//receiver.test:{port}/other"]
)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(receiver, where, status):
    asked = []

    def resolve(host, port):
        asked.append(host)
        return ["127.0.0.1"]

    sender = make(resolve=resolve, allow=(*LOOPBACK,))
    there = receiver(answer=lambda request: reply(status, Location=where.format(port=there.port)))
    outcome = sender.send({"url": there.url()}, message())
    sender.close()
    assert (outcome.result, outcome.status) == ("failed", status)
    assert "redirect" in outcome.error
    assert len(there.requests) == 1
    assert asked == ["receiver.test"]


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        (reply(500, b"Out of\r\norder"), "Out of order"),
        (reply(200, b'{"ok": true}', Content_Type="application/json"), '{"ok": true}'),
        (reply(200, b"\x89PNG\x00\x00", Content_Type="image/png"), None),
        (reply(500, gzip.compress(b"x" * 10_000_000), Content_Encoding="gzip"), None),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", "abcde"),
        (reply(500, b"<b>" * 10_000), ("<b>" * 1000)[:1024]),
    ],
)
def test_the_beginning_of_the_answer_is_kept(sender, receiver, answer, kept):
    there = receiver(answer=lambda request: answer)
    assert sender.send({"url": there.url()}, message()).excerpt == kept


def test_a_receiver_that_repeats_everything_does_not_bring_secrets_to_light(sender, receiver):
    def repeat(request):
        return reply(401, f"{request.path} {request.headers}".encode())

    there = receiver(answer=repeat)
    target = {
        "url": there.url("/services/T0000000/abcdefgh?token=tok3n-of-mine"),
        "headers": {"X-Api-Key": "k3y!", "Cookie": "session=c00kie-c00kie"},
        "username": "anna",
        "password": "passw0rd",
        "secret": SECRET,
    }
    outcome = sender.send(target, message())
    assert "***" in outcome.excerpt
    basic = b64encode(b"anna:passw0rd").decode()
    for secret in ("T0000000", "abcdefgh", "tok3n-of-mine", "k3y!", "c00kie-c00kie", "passw0rd", basic, SECRET):
        assert secret not in repr(outcome)


# Time and size


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nX-Long: ",
        b"HTTP/1.1 100 Continue\r\nX-Long: ",
    ],
    ids=["status", "name", "value", "provisional"],
)
@pytest.mark.parametrize("encrypted", [False, True], ids=["http", "https"])
def test_an_answer_that_drips_is_cut_off(receiver, tls_for, ca_file, start, encrypted):
    tls = tls_for("receiver.test") if encrypted else None
    there = receiver(tls=tls, answer=lambda request: drip(start))
    sender = make(ca_file)
    outcome = sender.send({"url": there.url(), "timeout": 0.3}, message())
    assert (outcome.result, outcome.error, outcome.status) == ("failed", "receiver.test: timed out", None)
    assert isinstance(there.server.ended.get(timeout=TIMEOUT), OSError)
    sender.close()


@pytest.mark.parametrize("encrypted", [False, True], ids=["http", "https"])
def test_a_receiver_that_never_answers_is_given_up(receiver, tls_for, ca_file, encrypted):
    there = receiver(tls=tls_for("receiver.test") if encrypted else None, answer=lambda request: silence)
    sender = make(ca_file)
    outcome = sender.send({"url": there.url(), "timeout": 0.3}, message())
    assert (outcome.result, outcome.error) == ("failed", "receiver.test: timed out")
    assert there.server.ended.get(timeout=TIMEOUT) is None  # it saw the connection's end
    sender.close()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_server_that_accepts_and_does_nothing_is_given_up(sender, server, scheme):
    held = threading.Event()
    there = server(lambda connection: held.wait(TIMEOUT))
    body = b"0" * 30_000_000  # more than the system takes for it
    outcome = sender.send({"url": f"{scheme}://receiver.test:{there.port}", "timeout": 0.3}, message(body=body))
    assert there.ended.empty()
    held.set()
    assert (outcome.result, outcome.error) == ("failed", "receiver.test: timed out")


def test_a_server_that_does_not_accept_is_given_up(sender):
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.socket() as first:
        first.connect(full.getsockname())
        outcome = sender.send({"url": f"http://receiver.test:{full.getsockname()[1]}", "timeout": 0.3}, message())
    assert (outcome.result, outcome.error) == ("failed", "receiver.test: timed out")


@pytest.mark.parametrize(
    ("head", "result"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", "delivered"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "delivered"),
        (b"HTTP/1.1 500 Broken\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n", "failed"),
    ],
)
def test_what_the_status_says_counts_though_the_body_never_ends(sender, receiver, head, result):
    there = receiver(answer=lambda request: drip(head))
    outcome = sender.send({"url": there.url(), "timeout": 0.3}, message())
    assert outcome.result == result
    assert isinstance(there.server.ended.get(timeout=TIMEOUT), OSError)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffff\r\n",
    ],
    ids=["to the end", "length", "chunked"],
)
def test_an_answer_without_end_is_read_in_part(sender, receiver, head):
    sent = []

    def flood(connection):
        connection.sendall(head)
        while True:
            connection.sendall(b"x" * 65536)
            sent.append(65536)

    there = receiver(answer=lambda request: flood)
    outcome = sender.send({"url": there.url()}, message())
    assert (outcome.result, outcome.excerpt) == ("delivered", "x" * 1024)
    assert isinstance(there.server.ended.get(timeout=TIMEOUT), OSError)
    assert sum(sent) < 50_000_000  # what the system's buffers took


def test_an_answer_before_the_body_was_read_counts(sender, server):
    def refuse_early(connection):
        connection.recv(1000)
        connection.sendall(reply(413))  # what follows is never read: the connection is reset

    there = server(refuse_early)
    outcome = sender.send({"url": f"http://receiver.test:{there.port}"}, message(body=b"0" * 10_000_000))
    assert (outcome.result, outcome.status) == ("failed", 413)


@pytest.mark.parametrize(
    "said",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"220 mail.test ESMTP\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
    ],
    ids=["ssh", "smtp", "status"],
)
def test_what_is_not_http_is_a_failure_that_does_not_repeat_it(sender, receiver, said):
    def say(connection):
        connection.sendall(said)
        connection.shutdown(socket.SHUT_WR)
        silence(connection)

    there = receiver(answer=lambda request: say)
    assert sender.send({"url": there.url()}, message()) == Outcome("failed", "receiver.test: the answer is not HTTP")


def test_malformed_headers_do_not_bring_the_url_into_the_log(sender, receiver, caplog):
    there = receiver(answer=lambda request: b"HTTP/1.1 200 OK\r\nno colon here\r\nContent-Length: 0\r\n\r\n")
    with caplog.at_level(logging.DEBUG):
        outcome = sender.send({"url": there.url("/services/s3cret-t0ken"), "timeout": 1}, message())
    assert outcome.result == "delivered"
    assert "s3cret" not in caplog.text + repr(outcome)


def test_a_receiver_that_hangs_up_is_a_failure(sender, receiver):
    there = receiver(answer=lambda request: lambda connection: None)
    outcome = sender.send({"url": there.url()}, message())
    assert outcome.result == "failed"
    assert len(there.requests) == 1


# Where it is sent to


def test_this_machine_is_refused_unless_it_is_allowed(receiver):
    there = receiver()
    sender = HttpSender(Addresses(), timeout=TIMEOUT)
    for host in ("127.0.0.1", "localhost", "127.1", "[::ffff:127.0.0.1]"):
        outcome = sender.send({"url": there.url(host=host)}, message())
        assert outcome.result == "refused", host
        assert "EXTENSION_DELIVERY_ALLOW_NETWORKS" in outcome.error
    assert there.server.accepted == 0


def test_a_name_that_leads_elsewhere_the_second_time_is_judged_again_and_never_dialled_unjudged(receiver):
    leads_to = iter([["127.0.0.1"], ["10.0.0.1", "127.0.0.1"], ["169.254.169.254"], ["127.0.0.1"]])
    there = receiver()
    sender = make(resolve=lambda host, port: next(leads_to))
    outcomes = [sender.send({"url": there.url()}, message()).result for _ in range(4)]
    assert outcomes == ["delivered", "delivered", "refused", "delivered"]
    assert next(leads_to, None) is None  # each attempt asked once
    assert there.server.accepted == 1
    sender.close()


def test_the_next_address_is_dialled_when_one_is_dead(receiver):
    there = receiver()
    sender = make(resolve=lambda host, port: ["127.0.0.9", "::1", "127.0.0.1"])
    assert sender.send({"url": there.url()}, message()).result == "delivered"
    sender.close()


def test_an_address_that_swallows_everything_leaves_time_for_the_next(receiver):
    there = receiver()
    sender = make(resolve=lambda host, port: ["127.0.0.9", "127.0.0.1"])
    with socket.socket() as full, socket.socket() as first:
        full.bind(("127.0.0.9", there.port))
        full.listen(0)
        first.connect(full.getsockname())
        assert sender.send({"url": there.url(), "timeout": 1}, message()).result == "delivered"
    sender.close()


def test_ipv6(server):
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listening:
        hosts = []

        def answer():
            connection, _ = listening.accept()
            with connection:
                hosts.append(connection.recv(65536).split(b"\r\n")[1:])
                connection.sendall(reply())

        thread = threading.Thread(target=answer)
        thread.start()
        port = listening.getsockname()[1]
        sender = HttpSender(Addresses(LOOPBACK), timeout=TIMEOUT)
        assert sender.send({"url": f"http://[::1]:{port}/"}, message()).result == "delivered"
        thread.join(TIMEOUT)
        sender.close()
    assert f"Host: [::1]:{port}".encode() in hosts[0]


@pytest.mark.parametrize(
    ("resolve", "error"),
    [
        (lambda host, port: (_ for _ in ()).throw(socket.gaierror(-3, "again")), "cannot be resolved"),
        (lambda host, port: threading.Event().wait(1) or [], "was not resolved within"),
    ],
    ids=["unknown", "hangs"],
)
def test_a_name_that_is_not_resolved_is_a_failure(resolve, error):
    sender = make(resolve=resolve)
    outcome = sender.send({"url": "http://receiver.test/", "timeout": 0.2}, message())
    assert outcome.result == "failed"
    assert error in outcome.error


# TLS


def test_the_certificate_is_verified_for_the_name(receiver, tls_for, ca_file):
    there, names = receiver(tls=tls_for("receiver.test")), []
    there.tls.sni_callback = lambda sock, name, context: names.append(name)
    sender = make(ca_file)
    assert sender.send({"url": there.url()}, message()).result == "delivered"
    assert sender.send({"url": there.url(host="receiver.test.")}, message()).result == "delivered"
    assert names == ["receiver.test"]
    sender.close()


@pytest.mark.parametrize("name", ["127.0.0.1", "receiver.test"])
def test_a_certificate_for_another_name_is_refused(receiver, tls_for, ca_file, name):
    there = receiver(tls=tls_for("other.test"))
    sender = make(ca_file)
    outcome = sender.send({"url": there.url(host=name)}, message())
    assert outcome.result == "failed"
    assert "TLS: " in outcome.error
    assert "certificate is not valid for" in outcome.error
    assert not there.requests


def test_a_certificate_for_an_address(receiver, tls_for, ca_file):
    there = receiver(tls=tls_for("127.0.0.1"))
    sender = make(ca_file)
    assert sender.send({"url": there.url(host="127.0.0.1")}, message()).result == "delivered"
    sender.close()


def test_an_authority_that_nobody_knows_is_refused(receiver, tls_for, ca_file):
    unknown = receiver(tls=tls_for("receiver.test", by=trustme.CA()))
    known = receiver(tls=tls_for("receiver.test"))
    assert make(ca_file).send({"url": unknown.url()}, message()).error.startswith("receiver.test: TLS: ")
    assert make(None).send({"url": known.url()}, message()).error.startswith("receiver.test: TLS: ")
    assert not unknown.requests
    assert not known.requests


def test_plain_http_where_tls_is_expected_is_a_failure(receiver, server):
    there = server(lambda connection: connection.sendall(b"HTTP/1.1 400 Bad\r\n\r\n"))
    outcome = make().send({"url": f"https://receiver.test:{there.port}/"}, message())
    assert outcome.result == "failed"


def test_authorities_that_cannot_be_used_are_told_at_once(tmp_path):
    with pytest.raises(ConfigurationError, match=r"nothing\.pem"):
        HttpSender(Addresses(), ca_file=str(tmp_path / "nothing.pem"))


# Connections


@pytest.mark.parametrize("encrypted", [False, True], ids=["http", "https"])
def test_a_connection_is_used_again(receiver, tls_for, ca_file, encrypted):
    there = receiver(tls=tls_for("receiver.test") if encrypted else None, answer=lambda request: reply(500, b"no"))
    sender = make(ca_file)
    for _ in range(5):
        sender.send({"url": there.url()}, message())
    assert len({request.peer for request in there.requests}) == 1
    sender.close()
    assert there.server.ended.get(timeout=TIMEOUT) is None


@pytest.mark.parametrize(
    "first",
    [
        reply(Connection="close"),
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\n" + reply(500),
        reply() + b"HTTP/1.1 500 not asked for\r\n" + b"X-Long: 12345\r\n" * 1000,
        reply(200, b"x" * 100_000),
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nx",
        lambda connection: connection.sendall(reply()),
    ],
    ids=["close", "1.0", "provisional", "more than asked", "too long", "too short", "hangs up afterwards"],
)
def test_a_connection_that_cannot_be_trusted_is_not_used_again(sender, receiver, first):
    there = receiver(answer=lambda request: reply() if len(there.requests) > 1 else first)
    sender.send({"url": there.url(), "timeout": 0.3}, message())
    if callable(first):
        there.server.ended.get(timeout=TIMEOUT)
    outcome = sender.send({"url": there.url()}, message("msg_2"))
    assert outcome == Outcome("delivered", status=200)
    assert there.server.accepted == 2


def test_what_was_not_asked_for_does_not_become_the_next_answer(receiver, tls_for, ca_file):
    more = b"HTTP/1.1 500 not asked for\r\n" + b"X-Long: 12345\r\n" * 900  # in the same TLS record as the answer
    there = receiver(tls=tls_for("receiver.test"), answer=lambda request: reply() + more)
    sender = make(ca_file)
    for _ in range(2):
        assert sender.send({"url": there.url()}, message()) == Outcome("delivered", status=200)
    assert there.server.accepted == 2
    sender.close()


def test_a_connection_that_is_closed_just_when_it_is_used_again_is_no_failure(sender, receiver):
    def answer(request):
        return (lambda connection: None) if len(there.requests) == 2 else reply()

    there = receiver(answer=answer)
    for number in range(2):
        assert sender.send({"url": there.url()}, message(f"msg_{number}")).result == "delivered"
    assert [request.headers["webhook-id"] for request in there.requests] == ["msg_0", "msg_1", "msg_1"]


def test_a_connection_is_not_used_for_another_name_or_without_tls(receiver, tls_for, ca_file):
    there = receiver(tls=tls_for("one.test", "two.test"))
    sender = make(ca_file)
    for host in ("one.test", "two.test", "one.test", "two.test"):
        assert sender.send({"url": there.url(host=host)}, message()).result == "delivered"
    assert there.server.accepted == 2
    assert sender.send({"url": there.url().replace("https", "http")}, message()).result == "failed"
    sender.close()


def test_many_threads_deliver_at_once(sender, receiver):
    there = receiver(answer=lambda request: reply(200, request.headers["webhook-id"].encode()))
    mixed_up = []

    def deliver(thread):
        for number in range(20):
            name = f"msg_{thread}_{number}"
            if sender.send({"url": there.url()}, message(name)).excerpt != name:
                mixed_up.append(name)

    threads = [threading.Thread(target=deliver, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    assert not mixed_up
    assert len(there.requests) == 240
    assert there.server.accepted <= 12


def test_connections_that_are_kept_open_are_bounded(receiver, tls_for, ca_file):
    names = [f"h{number}.test" for number in range(15)]
    there = receiver(tls=tls_for(*names))
    sender = make(ca_file, idle=5)
    for name in names:
        assert sender.send({"url": there.url(host=name)}, message()).result == "delivered"
    for _ in range(10):
        there.server.ended.get(timeout=TIMEOUT)
    assert there.server.ended.empty()
    sender.close()


# Targets


@pytest.mark.parametrize(
    "target",
    [
        {"url": "http://receiver.test"},
        {"url": "https://receiver.test:8443/hook?x=1"},
        {"url": "http://localhost"},
        {"url": "http://127.0.0.1/test_it"},
        {"url": "http://[::1]:80/"},
        {"url": "http://under_score.test./"},
        {"url": "https://x.test", "method": "PUT", "headers": {"X-A": "b", "authorization": "Bearer x"}},
        {"url": "https://x.test", "secret": f"{SECRET} {OTHER}", "timeout": 30, "ok": [200], "give_up_on": []},
        {"url": "https://x.test", "username": "anna", "password": "secret"},
        {"url": "https://x.test", "username": "anna"},
    ],
)
def test_sound_targets(sender, target):
    assert sender.check(target) == {}


@pytest.mark.parametrize(
    ("target", "key"),
    [
        ({}, "url"),
        ({"url": None}, "url"),
        ({"url": ""}, "url"),
        ({"url": "receiver.test/hook"}, "url"),
        ({"url": "ftp://receiver.test"}, "url"),
        ({"url": "file:///etc/passwd"}, "url"),
        ({"url": "http://"}, "url"),
        ({"url": "http:///path"}, "url"),
        ({"url": "http://re ceiver.test"}, "url"),
        ({"url": "http://receiver.test\r\nX: y"}, "url"),
        ({"url": "http://receiver%20test"}, "url"),
        ({"url": "http://receiver.test:99999"}, "url"),
        ({"url": "http://receiver.test:0"}, "url"),
        ({"url": "http://..test"}, "url"),
        ({"url": "http://[fe80::1%25eth0]/"}, "url"),
        ({"url": "http://anna:secret@receiver.test"}, "url"),
        ({"url": "http://receiver.test/" + "x" * 2000}, "url"),
        ({"method": "BREW"}, "method"),
        ({"method": "post"}, "method"),
        ({"headers": []}, "headers"),
        ({"headers": {"X A": "1"}}, "headers"),
        ({"headers": {"X-A": "1\r\nX-B: 2"}}, "headers"),
        ({"headers": {"X-A": "é"}}, "headers"),
        ({"headers": {"X-A": 1}}, "headers"),
        ({"headers": {"Host": "other.test"}}, "headers"),
        ({"headers": {"content-length": "3"}}, "headers"),
        ({"headers": {"Webhook-Id": "x"}}, "headers"),
        ({"secret": "s3cret"}, "secret"),
        ({"username": "an:na"}, "username"),
        ({"password": "s3cret"}, "username"),
        ({"ok": 200}, "ok"),
        ({"ok": ["200"]}, "ok"),
        ({"ok": [99]}, "ok"),
        ({"give_up_on": [600]}, "give_up_on"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": 301}, "timeout"),
        ({"timeout": "nan"}, "timeout"),
        ({"verify": False}, "verify"),
    ],
)
def test_what_is_wrong_with_a_target_is_told_by_key_and_without_values(sender, target, key):
    problems = sender.check({"url": "http://receiver.test", **target} if target else {})
    assert list(problems) == [key]
    assert problems[key].endswith((".", "]"))
    assert "s3cret" not in problems[key]
    assert "anna" not in problems[key]


def test_a_target_that_is_none_at_all(sender):
    assert sender.check([]) == {"_schema": "Invalid input type."}
    assert sender.send([], message()).result == "refused"


def test_secrets_are_in_no_text_about_a_failure(sender, receiver, caplog):
    target = {
        "url": "https://receiver.test:1/services/s3cret-path?key=s3cret-query",
        "headers": {"Authorization": "Bearer s3cret-header"},
        "secret": SECRET,
    }
    with caplog.at_level(logging.DEBUG):
        outcome = sender.send(target, message())
    assert outcome.error == "receiver.test: Connection refused"
    text = repr(outcome) + caplog.text + repr(sender)
    assert "s3cret" not in text
    assert SECRET not in text


def test_after_closing_it_still_sends_and_keeps_nothing_open(sender, receiver):
    there = receiver()
    sender.close()
    sender.close()
    assert sender.send({"url": there.url()}, message()).result == "delivered"
    assert there.server.ended.get(timeout=TIMEOUT) is None


def test_certificates_are_still_demanded_the_second_time(receiver, tls_for, ca_file):
    """What sending once does to the context must not make the second time easier."""
    sender = make(ca_file)
    good, bad = receiver(tls=tls_for("receiver.test")), receiver(tls=tls_for("other.test"))
    assert sender.send({"url": good.url()}, message()).result == "delivered"
    assert sender.send({"url": bad.url()}, message()).result == "failed"
    assert sender.send({"url": good.url()}, message()).result == "delivered"
    sender.close()
