"""Subscriptions: event listeners stored as rows, made and changed at run time."""

import warnings
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol, TypedDict, Unpack

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, update

from extension_kit.deliveries.subscription_deliveries import attempts as attempts
from extension_kit.deliveries.subscription_deliveries import deliveries as deliveries
from extension_kit.deliveries.subscription_deliveries import deliveries_of_events as deliveries_of_events
from extension_kit.deliveries.subscription_deliveries import is_settled as is_settled
from extension_kit.deliveries.subscription_deliveries import waiting as waiting
from extension_kit.deliveries.subscription_matching import listener_key, subscription_ref
from extension_kit.deliveries.subscription_rules import SubscriptionError as SubscriptionError
from extension_kit.deliveries.subscription_rules import find_problems
from extension_kit.deliveries.tables import subscription_patterns, subscriptions
from extension_kit.store.upsert import insert_or_ignore


class CheckTargets(Protocol):
    """Checks targets: the part of the senders that subscriptions need."""

    def check(self, sender: str, target: dict[str, Any]) -> dict[str, str]:
        """Return the problems of a sender's name or its target, by key."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """An event listener stored as a row, with the target of its deliveries.

    Attributes:
        ref: number of the subscription, never reused.
        protocol: source of the event protocol that made it.
        name: unique within the protocol.
        patterns: of the names of the events, such as ``experiment.execution.*``, in alphabetical order. An event that
            several of them match is delivered once. With the sender ``protocol`` there may be none, for a subscription
            that gets its events by ``Transaction.deliver`` only.
        group: group of subscriptions that are changed and removed together (``subscription_groups``); None: no group.
        subject: subject of the events; None: any.
        scope: tenant of the events; events without a scope match, too. Empty: events of any scope.
        sender: ``http``, ``email``, ``amqp``, ``nats``, or ``protocol`` if the protocol makes the attempts itself
            (``DeliveryFormat.send``).
        target: delivery target, as the sender documents it. It may hold secrets.
        retry: seconds between attempts; None: the default.
        enabled: False: no new events are recorded for it.
        expires_at: time from which on no new events are recorded for it; None: never.
        created_at: time of its creation.
    """

    ref: int
    protocol: str
    name: str
    patterns: tuple[str, ...]
    group: str | None
    subject: str | None
    scope: str
    sender: str
    target: dict[str, Any] = field(repr=False)
    retry: list[float] | None
    enabled: bool
    expires_at: datetime | None
    created_at: datetime

    @property
    def key(self) -> str:
        """Listener key of its deliveries."""
        return listener_key(self.ref)

    @property
    def pattern(self) -> str:
        """First pattern, or an empty text. Deprecated: use ``patterns``."""
        warnings.warn("Subscription.pattern is called Subscription.patterns now", DeprecationWarning, stacklevel=2)
        return next(iter(self.patterns), "")


class Wanted(TypedDict, total=False):
    """Attributes of a subscription that select its events, and the retry schedule of their deliveries."""

    patterns: Sequence[str]
    subject: str | None
    retry: Sequence[float] | None
    enabled: bool
    expires_at: datetime | None


class Changes(Wanted, total=False):
    """Attributes of a subscription that can be changed; ``pattern`` is the former name of ``patterns``."""

    target: dict[str, Any]
    pattern: str


def add(
    connection: Connection,
    senders: CheckTargets,
    *,
    protocol: str,
    name: str,
    sender: str,
    target: dict[str, Any],
    patterns: Sequence[str] = (),
    group: str | None = None,
    subject: str | None = None,
    scope: str = "",
    retry: Sequence[float] | None = None,
    enabled: bool = True,
    expires_at: datetime | None = None,
    pattern: str | None = None,
) -> Subscription:
    """Add a subscription, which gets the events recorded from then on.

    The arguments are the attributes of ``Subscription``, and ``pattern``, the former name of ``patterns``.

    Raises:
        SubscriptionError: a value is invalid, or the protocol has a subscription of this name; nothing was stored.
    """
    row: dict[str, Any] = {
        "protocol": protocol,
        "name": name,
        "group": group,
        "subject": subject,
        "scope": scope,
        "sender": sender,
        "target": target,
        "retry": retry,
        "enabled": enabled,
        "expires_at": expires_at,
        "created_at": datetime.now(UTC),
    }
    if pattern is not None:
        patterns = _renamed_pattern(pattern)
    _refuse(find_problems({**row, "patterns": patterns}) | senders.check(sender, target))
    inserted = insert_or_ignore(connection, subscriptions, row, returning=[subscriptions.c.ref])
    if (ref := inserted.scalar_one_or_none()) is None:
        raise SubscriptionError({"name": f"{protocol} has a subscription of this name."})
    _set_patterns(connection, ref, patterns, subject, scope)
    return read(connection, subscriptions.c.ref == ref)[0]


def get(connection: Connection, ref: int) -> Subscription | None:
    """Return the subscription of a number, or None."""
    return next(iter(read(connection, subscriptions.c.ref == ref)), None)


def find(connection: Connection, protocol: str, name: str) -> Subscription | None:
    """Return the subscription of a name, or None."""
    return next(iter(read(connection, subscriptions.c.protocol == protocol, subscriptions.c.name == name)), None)


def find_all(
    connection: Connection, protocol: str | None = None, *, after: int = 0, limit: int = 100
) -> list[Subscription]:
    """Return at most ``limit`` subscriptions with a ref above ``after``, oldest first."""
    mine = () if protocol is None else (subscriptions.c.protocol == protocol,)
    return read(connection, subscriptions.c.ref > after, *mine, limit=limit)


def change(connection: Connection, senders: CheckTargets, ref: int, **changes: Unpack[Changes]) -> Subscription | None:
    """Change a subscription and return it; None if it does not exist.

    A new target or retry schedule also applies to waiting deliveries. A disabled or expired subscription gets no new
    events; events recorded for it before are still delivered.

    Raises:
        SubscriptionError: a value is invalid; nothing was changed.
    """
    if "pattern" in changes:
        changes["patterns"] = _renamed_pattern(changes.pop("pattern"))
    before = next(iter(read(connection, subscriptions.c.ref == ref, lock=True)), None)
    if before is None:
        return None
    changed = {**asdict(before), **changes}
    # An unchanged target is not checked: a subscription with a target that has become invalid can still be disabled.
    _refuse(find_problems(changed) | (senders.check(before.sender, changes["target"]) if "target" in changes else {}))
    values = {key: value for key, value in changes.items() if key != "patterns"}
    if values:
        connection.execute(update(subscriptions).where(subscriptions.c.ref == ref).values(values))
    if changes.keys() & {"patterns", "subject"}:
        _set_patterns(connection, ref, changed["patterns"], changed["subject"], before.scope)
    return get(connection, ref)


def read(
    connection: Connection, *wanted: ColumnElement[bool], lock: bool = False, limit: int | None = None
) -> list[Subscription]:
    """Return the subscriptions that meet all conditions, oldest first.

    Args:
        connection: to read with.
        wanted: conditions on columns of ``subscriptions``.
        lock: keep others from changing them until the transaction ends.
        limit: maximum number; None: all.
    """
    query = _SUBSCRIPTIONS.where(*wanted).order_by(subscriptions.c.ref).limit(limit)
    rows = connection.execute(query.with_for_update(of=subscriptions) if lock else query)
    return [Subscription(**{**row, "patterns": tuple(sorted(row["patterns"].split()))}) for row in rows.mappings()]


def scopes(connection: Connection, keys: Collection[str]) -> dict[str, str]:
    """Return the scope of each listener key: the subscription's, or ``""`` for other listeners."""
    refs = [ref for key in keys if (ref := subscription_ref(key)) is not None]
    found = connection.execute(select(subscriptions.c.ref, subscriptions.c.scope).where(subscriptions.c.ref.in_(refs)))
    return {**dict.fromkeys(keys, ""), **{listener_key(ref): scope for ref, scope in found}}


def remove(connection: Connection, ref: int) -> bool:
    """Remove a subscription; False if it does not exist. Its waiting deliveries are discarded when they are due."""
    return connection.execute(delete(subscriptions).where(subscriptions.c.ref == ref)).rowcount == 1


_SUBSCRIPTIONS = select(
    subscriptions,
    # No pattern holds a blank.
    select(func.coalesce(func.aggregate_strings(subscription_patterns.c.pattern, " "), ""))
    .where(subscription_patterns.c.subscription_ref == subscriptions.c.ref)
    .scalar_subquery()
    .label("patterns"),
)


def _set_patterns(connection: Connection, ref: int, patterns: Sequence[str], subject: str | None, scope: str) -> None:
    connection.execute(delete(subscription_patterns).where(subscription_patterns.c.subscription_ref == ref))
    rows = [
        {"subscription_ref": ref, "pattern": pattern, "subject": subject, "scope": scope} for pattern in set(patterns)
    ]
    if rows:
        connection.execute(insert(subscription_patterns), rows)


def _renamed_pattern(pattern: str) -> list[str]:
    warnings.warn("pattern= is called patterns= now, and takes a list", DeprecationWarning, stacklevel=3)
    return [pattern]


def _refuse(problems: dict[str, str]) -> None:
    if problems:
        raise SubscriptionError(problems)
