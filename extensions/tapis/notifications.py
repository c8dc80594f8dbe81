"""Notifications: the JSON that receivers get (Tapis Notifications, live docs: recordTestNotification)."""

from uuid import UUID, uuid5

import orjson

from extension_kit.protocol import DeliveryFormat, Due, Kit, Message, Subscription, message_id

from .delivery_targets import SOURCE, Group, delivery_target
from .series import NOT_COUNTED
from .settings import TapisSettings
from .times import iso

_NOTIFICATIONS = UUID("0f3ad2a4-6e0b-5c57-9d1c-6f2b4c1d7e90")


def delivery_format(kit: Kit, settings: TapisSettings) -> DeliveryFormat:
    """Return the delivery format of notifications: envelope and retry schedule."""
    return DeliveryFormat(notification, settings.schedule)


def notification(due: Due, subscription: Subscription) -> Message:
    """Make the message of a delivery: the same in every attempt, and after a replay.

    Args:
        due: the delivery.
        subscription: the kit's subscription of one delivery target.
    """
    body = {
        "uuid": str(uuid5(_NOTIFICATIONS, f"{due.source} {due.event_id} {subscription.name}")),
        "tenant": subscription.scope,
        "subscriptionName": Group.of(subscription.group or "").name,
        "eventUuid": due.event_id,
        "event": orjson.Fragment(due.body if due.source == SOURCE else _event_of_others(due, subscription)),
        "deliveryTarget": delivery_target(subscription.sender, subscription.target),
        "created": iso(due.created_at),
    }
    about = f" subject: {due.subject}" if due.subject else ""
    return Message(
        message_id(due),
        orjson.dumps(body),
        content_type="application/json; charset=utf-8",
        headers={"User-Agent": "Tapis/v3"},
        subject=f"Tapis v3 notification. Event type: {due.event_name}{about}",
    )


def _event_of_others(due: Due, subscription: Subscription) -> bytes:
    """Return an event of another protocol as a Tapis event, with its body as the data."""
    return orjson.dumps(
        {
            "source": due.source,
            "type": due.event_name,
            "subject": due.subject,
            "data": due.body.decode(errors="replace"),
            "seriesId": due.series,
            "seriesSeqCount": NOT_COUNTED if due.place is None else due.place,
            "timestamp": iso(due.time or due.created_at),
            "deleteSubscriptionsMatchingSubject": False,
            "endSeries": False,
            "tenant": subscription.scope,
            "user": None,
            "received": iso(due.created_at),
            "uuid": due.event_id,
        }
    )
