"""The kit's subscriptions: a group for each subscription, with one of them for each of its delivery targets."""

import re
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row

from extension_kit.protocol import Host, SubscriptionError, subscription_groups

from .envelope import ApiError
from .settings import TapisSettings

SOURCE = "tapis"
"""The source of this protocol's events, and the protocol of its subscriptions."""

ANY_SUBJECT = "*"

_ADDRESS = re.compile(r"[^@\s]+@[^@\s]+")

Target = Mapping[str, str]
"""``deliveryMethod`` and ``deliveryAddress``."""


class Group(NamedTuple):
    """The name of a group: all that a notification says of its subscription."""

    uuid: str
    name: str

    @classmethod
    def of(cls, text: str) -> "Group":
        """Read the group of a subscription of the kit."""
        return cls(*text.split("/", 1))

    def __str__(self) -> str:
        """Return the group as the kit keeps it."""
        return "/".join(self)


def group_of(row: Row[Any]) -> str:
    """Return the group of a row of ``tapis_subscriptions``."""
    return str(Group(row.uuid, row.name))


def delivery_target(sender: str, target: Mapping[str, Any]) -> dict[str, str]:
    """Return the target of a subscription of the kit as the API shows it."""
    if sender == "http":
        return {"deliveryMethod": "WEBHOOK", "deliveryAddress": target["url"]}
    return {"deliveryMethod": "EMAIL", "deliveryAddress": target["to"][0]}


class Targets:
    """The groups of the kit's subscriptions, in a transaction.

    Args:
        connection: of the transaction.
        host: knows how targets are checked.
        settings: how webhooks are called.
    """

    def __init__(self, connection: Connection, host: Host, settings: TapisSettings) -> None:
        self._connection = connection
        self._senders = host.senders
        self._timeout = settings.delivery_timeout

    def check(self, sender: str, target: dict[str, Any]) -> dict[str, str]:
        """Return the problems of a target. That no mail server is known is not the target's fault."""
        problems = self._senders.check(sender, target)
        return {key: problem for key, problem in problems.items() if key != "sender"}

    def set(self, row: Row[Any]) -> None:
        """Make a subscription's group want what it wants, and lead to its delivery targets.

        Those of an expired subscription for which nothing waits may have been removed by the kit: they are made anew.

        Args:
            row: of ``tapis_subscriptions``.

        Raises:
            ApiError: 400, an address that is new cannot be used.
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
        """Let subscriptions get no events from a time on."""
        subscription_groups.end_groups(self._connection, SOURCE, [group_of(row) for row in rows], ends_at)

    def remove(self, rows: Collection[Row[Any]]) -> None:
        """Remove the groups of subscriptions; what waits for them is not delivered."""
        subscription_groups.remove_groups(self._connection, SOURCE, [group_of(row) for row in rows])

    def _of_kit(self, target: Target) -> subscription_groups.Target:
        address = target["deliveryAddress"]
        if target["deliveryMethod"] == "WEBHOOK":
            return subscription_groups.Target("http", {"url": address, "timeout": self._timeout, "give_up_on": []})
        if not _ADDRESS.fullmatch(address):
            raise ApiError(400, "NTFLIB_DLVRY_ADDR_NOT_EMAIL", f"{address:.200} is not an e-mail address")
        return subscription_groups.Target("email", {"to": [address]})
