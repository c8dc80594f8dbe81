"""What is secret in targets stands in the database's targets, and is shown by nothing."""

import logging
from base64 import b64encode
from datetime import UTC, datetime
from ipaddress import ip_network
from urllib.parse import unquote

import pytest
from sqlalchemy import insert, select

from extension_kit.deliveries import subscriptions
from extension_kit.deliveries.sender_pool import Senders
from extension_kit.deliveries.subscription_handlers import target_handlers
from extension_kit.deliveries.tables import WAITING, attempts, deliveries, events
from extension_kit.settings import Settings
from tests.support.commands import extension_kit
from tests.support.driving import make_attempt
from tests.support.receivers import reply

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SIGNING = "whsec_" + b64encode(b"k" * 32).decode()


def repeat(connection):
    """Speak as a mail server that says again whatever it is told."""
    connection.sendall(b"220 Hello\r\n")
    while line := connection.recv(65536).strip():
        if line.lower().startswith(b"ehlo"):
            connection.sendall(b"250-Hello\r\n250 AUTH PLAIN\r\n")
        else:
            connection.sendall(b"535 I was told " + line + b"\r\n")


def repeat_to_nats(connection):
    """Refuse a client of NATS with its own words."""
    connection.sendall(b'INFO {"server_id": "x", "version": "2.10.0", "auth_required": true}\r\n')
    said = connection.recv(65536)
    assert b"s3cret-word" in said
    connection.sendall(b"-ERR 'I was told " + said.replace(b"\r\n", b" ") + b"'\r\n")


def cases(receiver, server):
    http = receiver(
        answer=lambda request: reply(500, f"{request.path} {unquote(request.path)} {request.headers}".encode())
    )
    return {
        "http": {
            "url": http.url("/s3cret-path/a%2Fb-s3cret?key=s3cret-query", "127.0.0.1"),
            "headers": {"Authorization-Too": "Bearer s3cret-header"},
            "username": "anna",
            "password": "s3cret-word",
            "secret": SIGNING,
        },
        "email": {"to": ["anna@example.org"]},
        "nats": {
            "url": f"nats://kit:s3cret-word@127.0.0.1:{server(repeat_to_nats).port}",
            "subject": "x",
            "timeout": 1,
        },
        "amqp": {"url": f"amqp://kit:s3cret-word@127.0.0.1:{server(repeat).port}", "routing_key": "x", "timeout": 1},
    }


@pytest.mark.parametrize("sender", ["http", "email", "amqp", "nats"])
def test_no_list_log_or_error_shows_what_is_secret(sqlite, receiver, server, caplog, sender):
    caplog.set_level(logging.DEBUG)
    settings = Settings(
        delivery_allow_networks=(ip_network("127.0.0.0/8"),),
        smtp_host="127.0.0.1",
        smtp_port=server(repeat).port,
        smtp_security="none",
        smtp_sender="kit@example.com",
        smtp_username="kit",
        smtp_password="s3cret-word",
    )
    senders = Senders(settings)
    target = cases(receiver, server)[sender]
    options = {"protocol": "test", "name": "a", "patterns": ["*"], "sender": sender, "target": target, "retry": [30]}
    with sqlite.transaction() as connection:
        key = subscriptions.add(connection, senders, **options).key
        event = {"ref": 1, "source": "t", "event_id": "1", "name": "a", "body": b"{}", "received_at": NOW}
        connection.execute(insert(events).values(event))
        row = {"ref": 1, "event_ref": 1, "listener": key, "status": WAITING, "created_at": NOW, "due_at": NOW}
        connection.execute(insert(deliveries).values(row))
    make_attempt(sqlite, target_handlers(senders), 1)
    senders.close()
    with sqlite.read() as connection:
        stored = [*connection.execute(select(deliveries)), *connection.execute(select(attempts))]
    assert stored[0].error
    shown = [repr(stored), repr(settings), caplog.text]
    for arguments in (["list"], ["list", "--json"], ["show", "1"], ["show", "1", "--json"]):
        done = extension_kit("deliveries", *arguments, EXTENSION_DATABASE_URL=f"sqlite:///{sqlite.path}")
        assert done.returncode == 0, done.stderr
        shown.append(done.stdout + done.stderr)
    encoded = [b64encode(text).decode() for text in (b"anna:s3cret-word", b"\0kit\0s3cret-word", b"s3cret-word")]
    for secret in ("s3cret", SIGNING, *encoded):
        assert not [text for text in shown if secret in text]
