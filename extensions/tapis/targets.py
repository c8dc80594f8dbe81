"""The kit's subscriptions: one for each delivery target of a subscription, kept in step with it."""

import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection

from extension_kit.protocol import Host, SubscriptionError, subscriptions

from .envelope import ApiError
from .settings import TapisSettings

SOURCE = "tapis"
"""What the kit knows the events and subscriptions of this protocol by."""

ANY_SUBJECT = "*"

_ADDRESS = re.compile(r"[^@\s]+@[^@\s]+")

Target = Mapping[str, str]
"""``deliveryMethod`` and ``deliveryAddress``."""


class Name(NamedTuple):
    """What the kit calls a subscription: it tells all that a notification says of its own subscription."""

    uuid: str
    mark: str  # that the others of the same uuid do not have
    name: str

    @classmethod
    def of(cls, text: str) -> "Name":
        """Read the name of a subscription of the kit."""
        return cls(*text.split("/", 2))

    def __str__(self) -> str:
        """Return the name."""
        return "/".join(self)


class Filter(NamedTuple):
    """Which events are wanted, and until when."""

    tenant: str
    type_filter: str
    subject_filter: str
    enabled: bool
    ends_at: datetime | None


def delivery_target(sender: str, target: Mapping[str, Any]) -> dict[str, str]:
    """Say how the API calls the target of a subscription of the kit."""
    if sender == "http":
        return {"deliveryMethod": "WEBHOOK", "deliveryAddress": target["url"]}
    return {"deliveryMethod": "EMAIL", "deliveryAddress": target["to"][0]}


class Targets:
    """Makes, changes and removes the kit's subscriptions.

    Args:
        connection: of a transaction.
        host: knows how targets are checked.
        settings: how webhooks are called.
    """

    def __init__(self, connection: Connection, host: Host, settings: TapisSettings) -> None:
        self._connection = connection
        self._senders = host.senders
        self._timeout = settings.delivery_timeout

    def check(self, sender: str, target: dict[str, Any]) -> dict[str, str]:
        """Say what is wrong with a target. That no mail server is known is not the target's fault."""
        problems = self._senders.check(sender, target)
        return {key: problem for key, problem in problems.items() if key != "sender"}

    def add(self, uuid: str, name: str, wanted: Filter, targets: Sequence[Target]) -> list[int]:
        """Make the subscriptions for delivery targets.

        Raises:
            ApiError: 400, an address cannot be used.
        """
        return [self._add(uuid, name, wanted, target) for target in targets]

    def set_filter(self, uuid: str, name: str, wanted: Filter, targets: Mapping[int, Target]) -> list[int]:
        """Change what is wanted.

        Of a subscription that has expired, the kit may have removed those for which nothing waits: they are made anew.

        Args:
            uuid: of the subscription.
            name: its name.
            wanted: which events it wants from now on.
            targets: its delivery targets, by the refs of the kit's subscriptions.

        Returns:
            The refs of the kit's subscriptions, in the same order.

        Raises:
            ApiError: 400, an address of one that is made anew cannot be used any more.
        """
        refs = []
        for ref, target in targets.items():
            found = subscriptions.change(
                self._connection,
                self,
                ref,
                pattern=wanted.type_filter,
                subject=_subject(wanted),
                enabled=wanted.enabled,
                expires_at=wanted.ends_at,
            )
            refs.append(self._add(uuid, name, wanted, target) if found is None else ref)
        return refs

    def end(self, refs: Sequence[int], ends_at: datetime) -> None:
        """Let subscriptions get no events from a time on."""
        for ref in refs:
            subscriptions.change(self._connection, self, ref, expires_at=ends_at)

    def replace(
        self, uuid: str, name: str, wanted: Filter, before: Mapping[int, Target], after: Sequence[Target]
    ) -> list[int]:
        """Exchange the delivery targets.

        What waits for a target that stays is not touched, and what waits for one that goes is sent to one that comes
        by the same method, if there is one.

        Args:
            uuid: of the subscription.
            name: its name.
            wanted: which events it wants.
            before: the targets it has, by the refs of the kit's subscriptions.
            after: those it is to have.

        Returns:
            The refs of the kit's subscriptions, in the order of ``after``.

        Raises:
            ApiError: 400, an address cannot be used.
        """
        left = dict(before)
        refs: dict[int, int] = {}
        for place, target in enumerate(after):
            if (ref := next((ref for ref, other in left.items() if other == target), None)) is not None:
                refs[place] = ref
                del left[ref]
        for place, target in enumerate(after):
            if place in refs:
                continue
            same = (ref for ref, other in left.items() if other["deliveryMethod"] == target["deliveryMethod"])
            if (ref := next(same, None)) is None:
                refs[place] = self._add(uuid, name, wanted, target)
                continue
            del left[ref]
            refs[place] = ref
            try:
                subscriptions.change(self._connection, self, ref, target=self._of_kit(target)[1])
            except SubscriptionError as error:
                raise _refused(target, error) from None
        self.remove(list(left))
        return [refs[place] for place in range(len(after))]

    def remove(self, refs: Sequence[int]) -> None:
        """Remove subscriptions; what waits for them is not delivered."""
        for ref in refs:
            subscriptions.remove(self._connection, ref)

    def _add(self, uuid: str, name: str, wanted: Filter, target: Target) -> int:
        sender, keys = self._of_kit(target)
        try:
            added = subscriptions.add(
                self._connection,
                self,
                protocol=SOURCE,
                name=str(Name(uuid, secrets.token_hex(8), name)),
                pattern=wanted.type_filter,
                subject=_subject(wanted),
                scope=wanted.tenant,
                sender=sender,
                target=keys,
                enabled=wanted.enabled,
                expires_at=wanted.ends_at,
            )
        except SubscriptionError as error:
            raise _refused(target, error) from None
        return added.ref

    def _of_kit(self, target: Target) -> tuple[str, dict[str, Any]]:
        address = target["deliveryAddress"]
        if target["deliveryMethod"] == "WEBHOOK":
            return "http", {"url": address, "timeout": self._timeout, "give_up_on": []}
        if not _ADDRESS.fullmatch(address):
            raise ApiError(400, "NTFLIB_DLVRY_ADDR_NOT_EMAIL", f"{address:.200} is not an e-mail address")
        return "email", {"to": [address]}


def _subject(wanted: Filter) -> str | None:
    return None if wanted.subject_filter == ANY_SUBJECT else wanted.subject_filter


def _refused(target: Target, error: SubscriptionError) -> ApiError:
    kind = "URL" if target["deliveryMethod"] == "WEBHOOK" else "EMAIL"
    address = target["deliveryAddress"]
    return ApiError(400, f"NTFLIB_DLVRY_ADDR_NOT_{kind}", f"{address:.200} cannot be used: {error}")
