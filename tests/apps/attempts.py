"""A protocol that makes the attempts for its subscriptions itself, with the outcomes that its events ask for."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import orjson
from flask import Blueprint, Response, jsonify, request

from extension_kit import Extension, GiveUp
from extension_kit.protocol import (
    DeliveryFormat,
    Due,
    EventProtocol,
    Kit,
    Outcome,
    PublishedEvent,
    Routes,
    Subscription,
    subscriptions,
)

LEDGER = Path(os.environ["LEDGER"])


@dataclass(frozen=True)
class NoSettings:
    pass


def routes(kit: Kit, settings: NoSettings) -> Routes:
    blueprint = Blueprint("attempts", __name__)

    @blueprint.post("/attempts/subscriptions")
    def subscribe() -> Response:
        with kit.transaction() as transaction:
            own = {"protocol": "attempts", "sender": "protocol", "target": {}}
            made = subscriptions.add(transaction.connection, kit.senders, **own, **request.get_json())
        return jsonify(made.ref)

    @blueprint.post("/attempts/events")
    def deliver() -> Response:
        body = request.get_json()
        event = PublishedEvent.of(source="attempts", id=body["id"], name="attempts.made", data=body["outcomes"])
        with kit.transaction() as transaction:
            recorded = transaction.deliver(event, body["to"]) if "to" in body else transaction.publish(event)[0]
        return jsonify(recorded._asdict())

    return Routes(blueprint, ("/attempts",), lambda error: Response(f"{error}\n", 500))


def delivery_format(kit: Kit, settings: NoSettings) -> DeliveryFormat:
    return DeliveryFormat(retry=[600.0] * 5, send=send)


def send(due: Due, subscription: Subscription) -> Outcome:
    with LEDGER.open("a") as ledger:
        ledger.write(f"sent {due.event_id} {subscription.name} {due.number}\n")
    outcome = orjson.loads(due.body)[due.number - 1]
    if outcome == "raise":
        raise RuntimeError("the other system is odd")
    if outcome == "give up":
        raise GiveUp("the other system is gone")
    if outcome == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    return Outcome(**outcome)


extension = Extension("extension-attempts")
extension.add_protocol(
    EventProtocol("attempts", NoSettings, routes, names=("attempts.*",), delivery_format=delivery_format)
)


@extension.listen_to("attempts.*")
def heard(event: PublishedEvent) -> None:
    with LEDGER.open("a") as ledger:
        ledger.write(f"heard {event.id}\n")
