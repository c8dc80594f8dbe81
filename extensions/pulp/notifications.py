"""Notifications: the documents that receivers get (Pulp 2, notifier docs)."""

import json
from typing import Any

import orjson

from extension_kit import GiveUp
from extension_kit.protocol import DeliveryFormat, Due, Kit, Message, Subscription, message_id

from .encryption import Passwords
from .listeners import SOURCE
from .notifiers import PASSWORD, Notifiers
from .settings import PulpSettings

_INDENT = 2  # of the document in an e-mail


def delivery_format(kit: Kit, settings: PulpSettings) -> DeliveryFormat:
    """Return the delivery format of notifications: document, target and retry schedule."""
    passwords = Passwords(kit, settings)
    notifiers = Notifiers(settings, kit.settings.delivery_ca_folder)

    def make_target(due: Due, subscription: Subscription) -> dict[str, Any]:
        stored = subscription.target
        config = dict(stored["config"])
        if stored["password"] is not None:
            try:
                config[PASSWORD] = passwords.decrypt(stored["password"].encode())
            except ValueError as error:
                raise GiveUp(str(error)) from None
        return notifiers.target(subscription.sender, config, stored["recipient"], due.event_name)

    return DeliveryFormat(notification, settings.retry_schedule, make_target)


def notification(due: Due, subscription: Subscription) -> Message:
    """Make the message of a delivery: the same in every attempt, and after a replay."""
    body = due.body if due.source == SOURCE else _of_other_source(due)
    if subscription.sender == "email":
        return Message(message_id(due), _indented(body), content_type="text/plain")
    return Message(message_id(due), body)


def _indented(body: bytes) -> bytes:
    """Return a document with indentation; as it is, if it is nested deeper than Python can write."""
    try:
        return json.dumps(orjson.loads(body), indent=_INDENT).encode()
    except (ValueError, RecursionError):
        return body


def _of_other_source(due: Due) -> bytes:
    """Return an event of another system as a notification, with its body as the payload."""
    try:
        orjson.loads(due.body)
        payload: Any = orjson.Fragment(due.body)  # as it is, since orjson reads deeper nesting than it writes
    except orjson.JSONDecodeError:
        payload = due.body.decode(errors="replace")
    return orjson.dumps({"event_type": due.event_name, "payload": payload, "call_report": None})
