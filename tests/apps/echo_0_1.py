"""The extension of ``echo.py`` as it was written for release 0.1."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from flask import Blueprint, Response, jsonify, request
from sqlalchemy import Column, Integer, MetaData, String, Table, insert, select

from extension_kit import Event, Extension
from extension_kit.protocol import (
    TEXT,
    Due,
    EventProtocol,
    Host,
    Manner,
    Message,
    PublishedEvent,
    Routes,
    Subscription,
    SubscriptionError,
    Tables,
    Task,
    message_id,
    setting,
    subscriptions,
)

LEDGER = Path(os.environ.get("LEDGER", os.devnull))

metadata = MetaData()
said = Table(
    "echo_said",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("event_id", String(255), nullable=False, unique=True),
    Column("said", String(255), nullable=False),
)
TABLES = Tables("echo", metadata, Path(__file__).with_name("echo_versions"))


def note(*words: object) -> None:
    """Append a line that is there whatever happens to the process."""
    descriptor = os.open(LEDGER, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, (" ".join(map(str, words)) + "\n").encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class EchoSettings:
    word: str = setting("EXTENSION_ECHO_WORD", "hi", TEXT, "A word that deliveries begin with.")
    secret: str = setting("EXTENSION_ECHO_SECRET", "", TEXT, "Nobody may see it.", secret=True)


class Said(PublishedEvent):
    """What was said."""

    __slots__ = ()

    @property
    def words(self) -> str:
        return str(self.data["said"])


def routes(host: Host, settings: EchoSettings) -> Routes:
    echo = Blueprint("echo", __name__)

    @echo.post("/echo/said")
    def say() -> Response:
        body = request.get_json()
        event = Said.of(
            source="echo",
            id=body["id"],
            name=body.get("name", "echo.said"),
            data=body,
            subject=body.get("subject"),
            series=body.get("series"),
        )
        with host.transaction() as transaction:
            (recorded,) = transaction.publish(event)
            if recorded.is_new:
                row = {"event_id": event.id, "said": event.words}
                transaction.connection.execute(insert(said).values(row))
        return jsonify(recorded._asdict())

    @echo.get("/echo/said/<event_id>")
    def look(event_id: str) -> Response:
        with host.read() as connection:
            return jsonify(list(connection.execute(select(said.c.said).where(said.c.event_id == event_id)).scalars()))

    @echo.put("/echo/subscriptions/<name>")
    def subscribe(name: str) -> Response:
        body = request.get_json()
        with host.transaction() as transaction:
            made = subscriptions.add(
                transaction.connection,
                host.senders,
                protocol="echo",
                name=name,
                pattern=body["pattern"],
                sender="http",
                target={"url": body["url"]},
            )
        return jsonify(ref=made.ref)

    @echo.delete("/echo/subscriptions/<name>")
    def unsubscribe(name: str) -> Response:
        with host.transaction() as transaction:
            if (one := subscriptions.find(transaction.connection, "echo", name)) is not None:
                subscriptions.remove(transaction.connection, one.ref)
        return jsonify(removed=one is not None)

    @echo.get("/echo/broken")
    def broken() -> Response:
        raise RuntimeError(settings.word)

    return Routes(echo, ("/echo",), complain)


def complain(error: Exception) -> Response:
    status = 422 if isinstance(error, SubscriptionError) else getattr(error, "code", None) or 500
    return Response(f"echo: {status}\n", status, mimetype="text/plain")


def manner(settings: EchoSettings) -> Manner:
    def envelope(due: Due, subscription: Subscription) -> Message:
        told = {"word": settings.word, "to": subscription.name, "name": due.event_name, "source": due.source}
        return Message(message_id(due), json.dumps({**told, "event": json.loads(due.body)}).encode())

    return Manner(envelope, retry=[0.05] * 20)


_beats: Iterator[int] = count(1)


def beat(host: Host, settings: EchoSettings) -> None:
    number = next(_beats)
    note("beat", number, settings.word)
    if number == 1:
        raise RuntimeError("the first beat fails")
    if number == 2:
        raise SystemExit("and the second wants to end it all")


extension = Extension("extension-echo")
extension.speak(
    EventProtocol(
        "echo",
        EchoSettings,
        routes,
        names=("echo.*",),
        event=Said,
        tables=TABLES,
        tasks=(Task(0.05, beat),),
        manner=manner,
    )
)


@extension.listen_to("echo.said", retry=[0.05] * 5)
def heard(event: Said) -> None:
    note("heard", event.id, type(event).__name__, event.words, event.source, event.series, event.subject)


@extension.listen_to("echo.*", immediate=True)
def quick(event: Event) -> None:
    note("quick", event.id)
