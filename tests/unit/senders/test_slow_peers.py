"""Peers that drip bytes at any point of a conversation: each attempt ends within its own time."""

import socket
import ssl
from collections.abc import Callable

import pytest

from extension_kit.senders import Outcome
from extension_kit.senders.amqp import AmqpSender
from extension_kit.senders.email import EmailSender
from extension_kit.senders.http import HttpSender
from tests.support.receivers import TIMEOUT, Server, drip, local_addresses, message, silence

SECONDS = 0.4
RECORD = b"\x16\x03\x03\x40\x00"  # the head of a TLS record of a handshake that never is complete
HEARTBEAT = b"\x08\x00\x00\x00\x00\x00\x00\xce"
FRAME = b"\x01\x00\x00\x00\x00\x10\x00"  # the head of a frame of 4096 bytes

Talk = Callable[[socket.socket], None]


def after(*answers: bytes, then: Talk) -> Talk:
    """Answer some lines, and drip afterwards."""

    def talk(connection: socket.socket) -> None:
        for answer in answers:
            connection.sendall(answer)
            connection.recv(65536)
        then(connection)

    return talk


def webhook(port: int, scheme: str) -> Outcome:
    sender = HttpSender(local_addresses())
    outcome = sender.send({"url": f"{scheme}://slow.test:{port}/", "timeout": SECONDS}, message())
    sender.close()
    return outcome


def mail(port: int, security: str) -> Outcome:
    options = {"security": security, "sender": "kit@example.com", "timeout": SECONDS}
    if security == "starttls":
        options |= {"username": "kit", "password": "s3cret"}
    sender = EmailSender("127.0.0.1", port=port, **options)
    outcome = sender.send({"to": ["anna@example.org"]}, message())
    sender.close()
    return outcome


def publish(port: int, scheme: str) -> Outcome:
    sender = AmqpSender(local_addresses())
    outcome = sender.send({"url": f"{scheme}://slow.test:{port}", "routing_key": "x", "timeout": SECONDS}, message())
    sender.close()
    return outcome


HELLO = (b"220 Hello\r\n", b"250-Hello\r\n250 STARTTLS\r\n")
READY = b"220 Go ahead\r\n"
CASES: dict[str, tuple[Callable[[int, str], Outcome], str, Talk]] = {
    "http: handshake": (webhook, "https", drip(RECORD)),
    "smtp: greeting": (mail, "none", drip(b"220 ")),
    "smtp: greeting without end": (mail, "none", drip(b"220-Hello\r\n", b"220-more\r\n")),
    "smtp: hello": (mail, "none", after(HELLO[0], then=drip(b"250-Hello\r\n", b"250-MORE\r\n"))),
    "smtp: sender": (mail, "none", after(HELLO[0], b"250 Hello\r\n", then=drip(b"250 "))),
    "smtp: silence": (mail, "none", after(HELLO[0], b"250 Hello\r\n", then=silence)),
    "smtp: starttls": (mail, "starttls", after(*HELLO, then=drip(b"220 "))),
    "smtp: handshake after starttls": (mail, "starttls", after(*HELLO, READY, then=drip(RECORD))),
    "smtp: handshake": (mail, "tls", drip(RECORD)),
    "amqp: frame": (publish, "amqp", drip(FRAME)),
    "amqp: heartbeats": (publish, "amqp", drip(b"", HEARTBEAT)),
    "amqp: handshake": (publish, "amqps", drip(RECORD)),
}


@pytest.mark.parametrize(("send", "how", "talk"), CASES.values(), ids=CASES)
def test_an_attempt_ends_within_its_time(
    server: Callable[..., Server], send: Callable[[int, str], Outcome], how: str, talk: Talk
) -> None:
    there = server(talk)
    outcome = send(there.port, how)
    assert outcome.result == "failed"
    assert "timed out" in str(outcome.error)
    ended = there.ended.get(timeout=TIMEOUT)
    assert ended is None or isinstance(ended, OSError)  # nothing is left open


def test_a_conversation_over_tls_that_drips(
    server: Callable[..., Server], tls_for: Callable[..., ssl.SSLContext], ca_file: str
) -> None:
    """After the handshake each operation of a TLS connection ends in time, too."""
    there = server(after(*HELLO, then=drip(b"334 ")), tls=tls_for("127.0.0.1"))
    sender = EmailSender(
        "127.0.0.1",
        port=there.port,
        security="tls",
        sender="kit@example.com",
        ca_file=ca_file,
        timeout=SECONDS,
    )
    outcome = sender.send({"to": ["anna@example.org"]}, message())
    sender.close()
    assert (outcome.result, "timed out" in str(outcome.error)) == ("failed", True)


def test_a_mail_server_that_goes_silent_between_two_mails_is_dialled_again(server: Callable[..., Server]) -> None:
    """Asking a connection that was kept takes a part of the time only."""
    answers = [b"250 Hello\r\n", b"250 OK\r\n", b"250 OK\r\n", b"354 Go on\r\n", b"250 OK\r\n"]
    there = server(after(HELLO[0], *answers, then=silence))
    sender = EmailSender("127.0.0.1", port=there.port, security="none", sender="kit@example.com", timeout=TIMEOUT / 10)
    for number in range(2):
        assert sender.send({"to": ["anna@example.org"]}, message(f"msg_{number}")).result == "delivered"
    sender.close()
    assert there.accepted == 2


def test_a_broker_that_announces_a_frame_without_measure_is_left_at_once(server: Callable[..., Server]) -> None:
    there = server(after(b"\x01\x00\x00\x7f\xff\xff\xff" + b"x" * 100, then=silence))
    sender = AmqpSender(local_addresses())
    target = {"url": f"amqp://slow.test:{there.port}", "routing_key": "x", "timeout": TIMEOUT}
    outcome = sender.send(target, message())
    sender.close()
    assert outcome == Outcome("failed", "slow.test: the broker's frame is longer than agreed")
