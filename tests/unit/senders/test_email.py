"""E-mails, sent to real SMTP servers."""

import email
import email.policy
import logging
import socket
import ssl
import threading

import pytest
import trustme
from aiosmtpd.smtp import AuthResult, LoginPassword

from extension_kit.errors import ConfigurationError
from extension_kit.senders import Outcome
from extension_kit.senders.email import EmailSender
from tests.support.mailbox import mailbox, smtp
from tests.support.receivers import TIMEOUT, message, silence

__all__ = ["mailbox", "smtp"]
pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH")  # aiosmtpd does not see TLS that is there already

SENDER = "Oncall <oncall@example.com>"
TO = {"to": ["anna@example.org"]}


@pytest.fixture
def make():
    senders = []

    def create(port, host="127.0.0.1", **options) -> EmailSender:
        options = {"sender": SENDER, "security": "none", "timeout": TIMEOUT} | options
        senders.append(EmailSender(host, port=port, **options))
        return senders[-1]

    yield create
    for sender in senders:
        sender.close()


def test_a_mail_arrives(make, smtp, mailbox):
    target = {"to": ["anna@example.org", "ben@example.org"], "subject_prefix": "[prod]"}
    sent = message("msg_1", '{"name": "Zürich"}'.encode(), subject="Run failed ✗", headers={"X-Event": "a.b"})
    assert make(smtp()).send(target, sent) == Outcome("delivered", status=250)
    envelope = mailbox.envelopes.get(timeout=TIMEOUT)
    assert (envelope.mail_from, envelope.rcpt_tos) == ("oncall@example.com", target["to"])
    mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
    assert mail["From"] == SENDER
    assert mail["To"] == "anna@example.org, ben@example.org"
    assert mail["Subject"] == "[prod] Run failed ✗"
    assert mail["Message-ID"] == "<msg_1@example.com>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["X-Event"] == "a.b"
    assert mail["Date"].datetime.tzinfo is not None
    assert mail.get_content_type() == "text/plain"
    assert mail.get_content().strip() == '{"name": "Zürich"}'
    assert envelope.content.isascii()


@pytest.mark.parametrize(
    ("content_type", "shown_as"),
    [
        ("application/json", "text/plain"),
        ("text/html; charset=latin-1", "text/html"),
        ("Text/Markdown", "text/markdown"),
        ("", "text/plain"),
    ],
)
def test_text_stays_what_it_is_and_all_else_becomes_text(make, smtp, mailbox, content_type, shown_as):
    make(smtp()).send(TO, message(body=b"<p>hi</p>\n", content_type=content_type))
    mail = mailbox.mail()
    assert mail.get_content_type() == shown_as
    assert mail.get_content_charset() == "utf-8"
    assert mail.get_content().splitlines() == ["<p>hi</p>"]


@pytest.mark.parametrize("body", [b"x" * 5000, b".\r\n.\r\nQUIT\r\n", b"\xff\xfe", b"", "✓".encode() * 1000])
def test_no_body_can_break_the_conversation(make, smtp, mailbox, body):
    assert make(smtp()).send(TO, message(body=body)).result == "delivered"
    expected = body.decode(errors="replace").replace("\r\n", "\n").rstrip("\n")
    assert mailbox.mail().get_content().replace("\r\n", "\n").rstrip("\n") == expected
    assert mailbox.envelopes.empty()


@pytest.mark.parametrize(
    ("prefix", "subject", "expected"),
    [
        ("", "a\r\nBcc: eve@example.net", "a Bcc: eve@example.net"),
        ("[x]\nBcc: eve@example.net\n\n", "body", "[x] Bcc: eve@example.net body"),
        ("", "a\u2028b\x00c\x1bd", "a b c d"),
        ("", "\ud800", None),
        ("", "x" * 5000, "x" * 500),
        ("", "", ""),
        ("only", "", "only"),
    ],
)
def test_no_subject_becomes_another_header(make, smtp, mailbox, prefix, subject, expected):
    outcome = make(smtp()).send({**TO, "subject_prefix": prefix}, message(subject=subject))
    assert outcome.result == "delivered"
    envelope = mailbox.envelopes.get(timeout=TIMEOUT)
    assert envelope.rcpt_tos == TO["to"]
    mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
    assert mail["Bcc"] is None
    assert expected is None or mail["Subject"].replace("\n", "") == expected


@pytest.mark.parametrize(
    "headers",
    [
        {"Bcc": "eve@example.net"},
        {"to": "eve@example.net"},
        {"X-A: 1\r\nBcc": "eve@example.net"},
        {"X-A": "1\r\nBcc: eve@example.net"},
        {"Content-Type": "text/html"},
    ],
)
def test_no_header_of_the_message_becomes_another_or_one_of_ours(make, smtp, mailbox, headers):
    outcome = make(smtp()).send(TO, message(headers=headers))
    assert outcome.result == "refused"
    assert mailbox.envelopes.empty()


@pytest.mark.parametrize("id", ["msg 1", "msg\r\n1", "<msg>", "m" * 500, "é"])
def test_every_id_makes_a_message_id_the_same_for_every_attempt(make, smtp, mailbox, id):
    sender = make(smtp())
    for _ in range(2):
        assert sender.send(TO, message(id)).result == "delivered"
    first, second = mailbox.mail()["Message-ID"], mailbox.mail()["Message-ID"]
    assert first == second
    assert first.startswith("<")
    assert first.endswith("@example.com>")


# Recipients


@pytest.mark.parametrize(
    ("code", "said", "result"),
    [(550, "No such user", "refused"), (450, "Come back", "failed"), (421, "Busy", "failed")],
)
def test_when_nobody_gets_it(make, smtp, mailbox, code, said, result):
    mailbox.replies["anna@example.org"] = [f"{code} {said}"]
    outcome = make(smtp()).send(TO, message())
    assert outcome == Outcome(result, f"127.0.0.1: refused anna@example.org ({code})", code, said)


def test_whom_the_server_refuses_for_good_is_named_and_the_others_have_it(make, smtp, mailbox):
    mailbox.replies["gone@example.org"] = ["550 No such user"]
    outcome = make(smtp()).send({"to": ["gone@example.org", "anna@example.org"]}, message())
    assert (outcome.result, outcome.status, outcome.excerpt) == ("delivered", 250, "No such user")
    assert outcome.error == "127.0.0.1: refused gone@example.org (550)"
    assert mailbox.envelopes.get(timeout=TIMEOUT).rcpt_tos == ["anna@example.org"]


def test_whom_the_server_refuses_for_now_is_tried_again_and_nobody_gets_it_twice(make, smtp, mailbox):
    mailbox.replies = {"grey@example.org": ["450 Later", "450 Later", "250 OK"], "gone@example.org": ["550 No"] * 2}
    target = {"to": ["anna@example.org", "grey@example.org", "gone@example.org"]}
    sender = make(smtp())
    first = sender.send(target, message())
    assert (first.result, first.status) == ("failed", 550)
    assert "grey@example.org (450)" in first.error
    assert "gone@example.org (550)" in first.error
    assert sender.send(target, message()).result == "failed"
    mailbox.replies["gone@example.org"] = ["550 No"]
    assert sender.send(target, message()).result == "delivered"
    recipients = [mailbox.envelopes.get(timeout=TIMEOUT).rcpt_tos for _ in range(2)]
    assert recipients == [["anna@example.org"], ["grey@example.org"]]


def test_what_has_arrived_can_be_sent_again_on_purpose(make, smtp, mailbox):
    sender = make(smtp())
    for _ in range(2):
        assert sender.send(TO, message()).result == "delivered"
    assert mailbox.envelopes.qsize() == 2


def test_who_is_named_twice_gets_it_once(make, smtp, mailbox):
    make(smtp()).send({"to": ["anna@example.org"] * 3}, message())
    assert mailbox.envelopes.get(timeout=TIMEOUT).rcpt_tos == ["anna@example.org"]


def test_whom_messages_have_reached_is_remembered_for_a_bounded_number_of_messages(make, smtp, mailbox):
    sender, target = make(smtp(), remembered=2), {"to": ["anna@example.org", "grey@example.org"]}
    for number in range(3):
        mailbox.replies["grey@example.org"] = ["450 Later"]
        assert sender.send(target, message(f"msg_{number}")).result == "failed"
        mailbox.envelopes.get(timeout=TIMEOUT)
    for number, expected in ((2, ["grey@example.org"]), (0, target["to"])):
        assert sender.send(target, message(f"msg_{number}")).result == "delivered"
        assert mailbox.envelopes.get(timeout=TIMEOUT).rcpt_tos == expected


# The server


@pytest.mark.parametrize(
    ("reply", "result"), [("552 Too large", "refused"), ("554 Spam", "refused"), ("451 Later", "failed")]
)
@pytest.mark.parametrize("at", ["data", "sender_reply"])
def test_what_the_server_says_of_the_message(make, smtp, mailbox, at, reply, result):
    setattr(mailbox, at, reply)
    outcome = make(smtp()).send(TO, message())
    code, said = reply.split(" ", 1)
    assert outcome == Outcome(result, f"127.0.0.1: answered {code}", int(code), said)


def test_having_to_log_in_is_a_matter_of_the_settings_and_not_of_the_message(make, smtp, mailbox):
    outcome = make(smtp(auth_required=True, auth_require_tls=False)).send(TO, message())
    assert (outcome.result, outcome.status) == ("failed", 530)


def authenticator(server, session, envelope, mechanism, data):
    ok = isinstance(data, LoginPassword) and (data.login, data.password) == (b"kit", b"s3cret")
    return AuthResult(success=ok, handled=False)


@pytest.fixture
def secure(smtp, tls_for):
    """Start a server that speaks TLS in one of the two ways, and demands a log-in."""

    def start(security: str, name: str = "localhost", **options) -> int:
        context = tls_for(name)
        login = {"authenticator": authenticator, "auth_required": True}
        if security == "tls":
            return smtp(context, auth_require_tls=False, **login)
        return smtp(tls_context=context, require_starttls=True, **login)

    return start


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_tls_and_log_in(make, secure, ca_file, mailbox, security):
    port = secure(security)
    sender = make(port, "localhost", security=security, ca_file=ca_file, username="kit", password="s3cret")
    for _ in range(2):
        assert sender.send(TO, message()) == Outcome("delivered", status=250)
    assert len(mailbox.peers) == 1


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_wrong_password_is_a_failure_that_does_not_show_it(make, secure, ca_file, caplog, security):
    sender = make(secure(security), "localhost", security=security, ca_file=ca_file, username="kit", password="wr0ng!")
    with caplog.at_level(logging.DEBUG):
        outcome = sender.send(TO, message())
    assert (outcome.result, outcome.status) == ("failed", 535)
    assert "wr0ng!" not in repr(outcome) + repr(sender)


@pytest.mark.parametrize("security", ["starttls", "tls"])
@pytest.mark.parametrize("wrong", ["name", "authority"])
def test_a_server_that_is_another_is_told_nothing(make, secure, smtp, tls_for, ca_file, mailbox, security, wrong):
    if wrong == "name":
        port = secure(security, "other.test")
    else:
        context = tls_for("localhost", by=trustme.CA())
        port = smtp(context) if security == "tls" else smtp(tls_context=context)
    sender = make(port, "localhost", security=security, ca_file=ca_file, username="kit", password="s3cret")
    outcome = sender.send(TO, message())
    assert outcome.result == "failed"
    assert outcome.error.startswith("localhost: TLS: ")
    assert mailbox.envelopes.empty()


def test_without_starttls_at_the_server_nothing_is_sent(make, smtp, mailbox):
    outcome = make(smtp(), security="starttls").send(TO, message())
    assert outcome.result == "failed"
    assert "STARTTLS" in outcome.error
    assert mailbox.envelopes.empty()


def test_a_server_that_is_not_there(make):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert make(port).send(TO, message()) == Outcome("failed", "127.0.0.1: Connection refused", unreachable=True)


@pytest.mark.parametrize("security", ["none", "starttls", "tls"])
def test_a_server_that_says_nothing(make, server, security):
    outcome = make(server(silence).port, security=security, timeout=0.3).send(TO, message())
    assert outcome.result == "failed"
    assert "timed out" in outcome.error


@pytest.mark.parametrize(
    ("greeting", "error"),
    [(b"554 Go away\r\n", "answered 554"), (b"HTTP/1.1 400 Bad\r\n", "answered"), (b"", "closed")],
)
def test_a_server_that_does_not_want_us(make, server, greeting, error):
    outcome = make(server(lambda connection: connection.sendall(greeting)).port).send(TO, message())
    assert outcome.result == "failed"
    assert error in outcome.error


def test_a_server_that_hangs_up_in_the_middle(make, server):
    def talk(connection):
        connection.sendall(b"220 Hello\r\n")
        connection.recv(1000)
        connection.sendall(b"250 Hello\r\n")
        connection.recv(1000)

    assert make(server(talk).port).send(TO, message()).result == "failed"


def test_the_name_service_is_not_asked_for_our_own_name(make, smtp, mailbox, monkeypatch):
    def hang(*_):
        raise AssertionError("it may take longer than any timeout")

    monkeypatch.setattr(socket, "getfqdn", hang)
    assert make(smtp()).send(TO, message()).result == "delivered"


# Connections


def test_a_batch_takes_one_connection_which_is_closed_politely(make, smtp, mailbox):
    sender = make(smtp())
    for _ in range(5):
        sender.send(TO, message())
    assert len(mailbox.peers) == 1
    assert mailbox.quits.empty()
    sender.close()
    assert mailbox.quits.get(timeout=TIMEOUT) in mailbox.peers


def test_a_connection_that_has_died_is_replaced(make, server):
    def talk(connection):
        """One mail, then the end."""
        with connection.makefile("rwb", buffering=0) as stream:
            stream.write(b"220 Hello\r\n")
            for line in stream:
                stream.write(b"354 Go on\r\n" if line.startswith(b"data") else b"250 OK\r\n")
                if line.startswith(b"data"):
                    while stream.readline() != b".\r\n":
                        pass
                    stream.write(b"250 OK\r\n")
                    break

    there = server(talk)
    sender = make(there.port)
    for number in range(3):
        assert sender.send(TO, message()).result == "delivered"
        there.ended.get(timeout=TIMEOUT)
        assert there.accepted == number + 1


def test_many_threads_send_at_once_and_few_connections_stay_open(make, smtp, mailbox):
    sender = make(smtp())
    barrier, outcomes = threading.Barrier(10), []

    def deliver(thread):
        barrier.wait(TIMEOUT)
        outcomes.extend(sender.send(TO, message(f"msg_{thread}_{number}")).result for number in range(5))

    threads = [threading.Thread(target=deliver, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    assert outcomes == ["delivered"] * 50
    ids = {mailbox.mail()["Message-ID"] for _ in range(50)}
    assert len(ids) == 50
    assert len(sender._idle) <= 4


# Settings and targets


@pytest.mark.parametrize("sender", ["", "nobody", "a@b\r\nBcc: c@d", "Ann\r\nBcc: x <a@b>", "@b", "a@", "a b@c"])
def test_a_sender_that_is_none_is_told_at_once(sender):
    with pytest.raises(ConfigurationError, match=r"oncall@example\.com"):
        EmailSender("mail.test", sender=sender)


def test_the_port_follows_from_the_security():
    ports = {security: EmailSender("m.test", sender=SENDER, security=security)._port for security in ("none", "tls")}
    assert ports == {"none": 25, "tls": 465}
    assert EmailSender("m.test", sender=SENDER)._port == 587


def test_the_password_is_in_no_representation():
    sender = EmailSender("m.test", sender=SENDER, username="kit", password="s3cret")
    assert "s3cret" not in repr(sender)


@pytest.mark.parametrize(
    "target",
    [
        TO,
        {"to": ["anna@localhost", "a.b+c@sub.example.org"], "subject_prefix": "[x]"},
        {"to": ["abc@example1.com"] * 100},
        {"to": ["o'neil_1@xn--exmple-cua.test"]},
    ],
)
def test_sound_targets(target):
    assert EmailSender("m.test", sender=SENDER).check(target) == {}


@pytest.mark.parametrize(
    ("target", "key"),
    [
        ({}, "to"),
        ({"to": []}, "to"),
        ({"to": "anna@example.org"}, "to"),
        ({"to": ["abc"]}, "to"),
        ({"to": ["abc@"]}, "to"),
        ({"to": ["@example.com"]}, "to"),
        ({"to": ["abc@example com"]}, "to"),
        ({"to": ["anna@example.org", "a@b\r\nRCPT TO:<eve@example.net>"]}, "to"),
        ({"to": ["a@b\n"]}, "to"),
        ({"to": ["a@b, c@d"]}, "to"),
        ({"to": ["Anna <anna@example.org>"]}, "to"),
        ({"to": ["ä@example.org"]}, "to"),
        ({"to": ["x" * 65 + "@example.org"]}, "to"),
        ({"to": ["a@" + "x." * 150 + "org"]}, "to"),
        ({"to": [None]}, "to"),
        ({"to": ["a@b.test"] * 101}, "to"),
        ({**TO, "subject_prefix": 5}, "subject_prefix"),
        ({**TO, "subject_prefix": "x" * 201}, "subject_prefix"),
        ({**TO, "bcc": ["eve@example.net"]}, "bcc"),
    ],
)
def test_what_is_wrong_with_a_target_is_told_by_key(target, key):
    sender = EmailSender("m.test", sender=SENDER)
    assert list(sender.check(target)) == [key]
    assert sender.send(target, message()).result == "refused"


def test_the_context_verifies():
    context = EmailSender("m.test", sender=SENDER)._context
    assert (context.check_hostname, context.verify_mode) == (True, ssl.CERT_REQUIRED)
