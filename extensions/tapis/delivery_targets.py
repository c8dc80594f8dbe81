"""Delivery targets: a subscription is a group of the kit's subscriptions, one for each of its targets."""

import re
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row

from extension_kit.protocol import Kit, SubscriptionError, subscription_groups

from .envelope import ApiError
from .settings import TapisSettings

SOURCE = "tapis"
"""The source of this protocol's events, and the protocol of its subscriptions."""

ANY_SUBJECT = "*"

_ADDRESS = re.compile(r"[^@\s]+@[^@\s]+")

Target = Mapping[str, str]
"""A delivery target: ``deliveryMethod`` and ``deliveryAddress``."""


class Group(NamedTuple):
    """The name of a group. It holds the subscription's attributes that a notification shows."""

    uuid: str
    name: str

    @classmethod
    def of(cls, text: str) -> "Group":
        """Parse the group of one of the kit's subscriptions."""
        return cls(*text.split("/", 1))

    def __str__(self) -> str:
        """Return the group as the kit stores it."""
        return "/".join(self)


def group_of(row: Row[Any]) -> str:
    """Return the group of a row of ``tapis_subscriptions``."""
    return str(Group(row.uuid, row.name))


def delivery_target(sender: str, target: Mapping[str, Any]) -> dict[str, str]:
    """Return the target of one of the kit's subscriptions as the API shows it."""
    if sender == "http":
        return {"deliveryMethod": "WEBHOOK", "deliveryAddress": target["url"]}
    return {"deliveryMethod": "EMAIL", "deliveryAddress": target["to"][0]}


class Targets:
    """The groups of the kit's subscriptions, in a transaction.

    Args:
        connection: of the transaction.
        kit: the kit; its senders check targets.
        settings: the timeout of webhooks.
    """

    def __init__(self, connection: Connection, kit: Kit, settings: TapisSettings) -> None:
        self._connection = connection
        self._senders = kit.senders
        self._timeout = settings.delivery_timeout

    def check(self, sender: str, target: dict[str, Any]) -> dict[str, str]:
        """Return the problems of a target. A missing mail server is not a problem of the target."""
        problems = self._senders.check(sender, target)
        return {key: problem for key, problem in problems.items() if key != "sender"}

    def set(self, row: Row[Any]) -> None:
        """Create or update the group of a subscription: its filters, its expiry and its delivery targets.

        The kit may have removed the group of an expired subscription without waiting deliveries; it is created anew.

        Args:
            row: of ``tapis_subscriptions``.

        Raises:
            ApiError: 400, a new address cannot be used.
        """
        try:
            subscription_groups.set_targets(
                self._connection,
                self,
                SOURCE,
                group_of(row),
                [self._of_kit(target) for target in row.delivery_targets],
                scope=row.tenant,
                patterns=[row.type_filter],
                subject=None if row.subject_filter == ANY_SUBJECT else row.subject_filter,
                enabled=row.enabled,
                expires_at=row.ends_at,
            )
        except SubscriptionError as error:
            target = row.delivery_targets[error.place]
            kind = "URL" if target["deliveryMethod"] == "WEBHOOK" else "EMAIL"
            message = f"{target['deliveryAddress']:.200} cannot be used: {error}"
            raise ApiError(400, f"NTFLIB_DLVRY_ADDR_NOT_{kind}", message) from None

    def end(self, rows: Collection[Row[Any]], ends_at: datetime) -> None:
        """End subscriptions at a time: they get no events from then on."""
        subscription_groups.end_groups(self._connection, SOURCE, [group_of(row) for row in rows], ends_at)

    def remove(self, rows: Collection[Row[Any]]) -> None:
        """Remove the groups of subscriptions. Their waiting deliveries are not made."""
        subscription_groups.remove_groups(self._connection, SOURCE, [group_of(row) for row in rows])

    def _of_kit(self, target: Target) -> subscription_groups.Target:
        address = target["deliveryAddress"]
        if target["deliveryMethod"] == "WEBHOOK":
            return subscription_groups.Target("http", {"url": address, "timeout": self._timeout, "give_up_on": []})
        if not _ADDRESS.fullmatch(address):
            raise ApiError(400, "NTFLIB_DLVRY_ADDR_NOT_EMAIL", f"{address:.200} is not an e-mail address")
        return subscription_groups.Target("email", {"to": [address]})
