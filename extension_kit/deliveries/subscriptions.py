"""Subscriptions: rows that want events as decorated functions do, made and changed at run time."""

import warnings
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol, TypedDict, Unpack

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from extension_kit.deliveries.subscription_matching import listener_key, subscription_ref
from extension_kit.deliveries.subscription_rules import SubscriptionError as SubscriptionError
from extension_kit.deliveries.subscription_rules import find_problems
from extension_kit.deliveries.tables import WAITING, deliveries, subscription_patterns, subscriptions
from extension_kit.store.batches import batches


class CheckTargets(Protocol):
    """What is needed of the senders."""

    def check(self, sender: str, target: dict[str, Any]) -> dict[str, str]:
        """Say what is wrong with a sender's name or its target, by key."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """Who wants which events, and where they are delivered to.

    Attributes:
        ref: its number, never given again.
        protocol: the extension it was made with.
        name: unique within the protocol.
        patterns: of the names of the events, such as ``experiment.execution.*``, in alphabetical order. An event that
            several of them match is delivered once.
        group: what it is changed and removed together with (``subscription_groups``); None: it stands for itself.
        subject: what the events have to be about; None: any.
        scope: whose events; those of nobody in particular, too. Empty: everybody's.
        sender: ``http``, ``email`` or ``amqp``.
        target: where to, as the sender documents it. It may hold secrets.
        retry: seconds between attempts; None: the default.
        enabled: whether it wants events at all.
        expires_at: from when on it wants none; None: never.
        created_at: when it was made.
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
        """What its deliveries are kept under."""
        return listener_key(self.ref)

    @property
    def pattern(self) -> str:
        """Its only pattern, by the name of the release before."""
        warnings.warn("Subscription.pattern is called Subscription.patterns now", DeprecationWarning, stacklevel=2)
        return self.patterns[0]


class Wanted(TypedDict, total=False):
    """Attributes of a subscription that say which events it gets, and how often each is tried."""

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
    """Make a subscription, which gets the events that are recorded from then on.

    The arguments are the attributes of ``Subscription``, and ``pattern``, the former name of ``patterns``.

    Raises:
        SubscriptionError: it cannot be so, or the protocol has one of this name; nothing was stored.
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
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    inserted = dialect.insert(subscriptions).values(row).on_conflict_do_nothing().returning(subscriptions.c.ref)
    if (ref := connection.execute(inserted).scalar_one_or_none()) is None:
        raise SubscriptionError({"name": f"{protocol} has a subscription of this name."})
    _set_patterns(connection, ref, patterns, subject, scope)
    return read(connection, subscriptions.c.ref == ref)[0]


def get(connection: Connection, ref: int) -> Subscription | None:
    """Return the subscription of a number, if it is there."""
    return next(iter(read(connection, subscriptions.c.ref == ref)), None)


def find(connection: Connection, protocol: str, name: str) -> Subscription | None:
    """Return the subscription of a name, if it is there."""
    return next(iter(read(connection, subscriptions.c.protocol == protocol, subscriptions.c.name == name)), None)


def find_all(
    connection: Connection, protocol: str | None = None, *, after: int = 0, limit: int = 100
) -> list[Subscription]:
    """Return subscriptions, oldest first: at most ``limit`` behind the one whose ref is ``after``."""
    mine = () if protocol is None else (subscriptions.c.protocol == protocol,)
    return read(connection, subscriptions.c.ref > after, *mine, limit=limit)


def change(connection: Connection, senders: CheckTargets, ref: int, **changes: Unpack[Changes]) -> Subscription | None:
    """Change a subscription; None where it is not there.

    A new target or retry schedule also counts for the deliveries that wait. One that is disabled or has expired gets no
    new events; what was recorded for it before is still delivered.

    Raises:
        SubscriptionError: it cannot be so; nothing was changed.
    """
    if "pattern" in changes:
        changes["patterns"] = _renamed_pattern(changes.pop("pattern"))
    before = next(iter(read(connection, subscriptions.c.ref == ref, lock=True)), None)
    if before is None:
        return None
    changed = {**asdict(before), **changes}
    # A target that stays is not looked at: what cannot be used any more can still be disabled.
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
    """Read the subscriptions that meet all conditions, oldest first.

    Args:
        connection: to read with.
        wanted: conditions on columns of ``subscriptions``.
        lock: keep others from changing them until the transaction ends.
        limit: how many at most; None: all.
    """
    query = _SUBSCRIPTIONS.where(*wanted).order_by(subscriptions.c.ref).limit(limit)
    rows = connection.execute(query.with_for_update(of=subscriptions) if lock else query)
    return [Subscription(**{**row, "patterns": tuple(sorted(row["patterns"].split()))}) for row in rows.mappings()]


def waiting(connection: Connection, refs: Collection[int]) -> set[int]:
    """Return those of the subscriptions for which something waits to be delivered."""
    keys: set[str] = set()
    for some in batches(refs):
        mine = deliveries.c.listener.in_([listener_key(ref) for ref in some])
        query = select(deliveries.c.listener).where(mine, deliveries.c.status == WAITING).distinct()
        keys.update(connection.execute(query).scalars())
    return {ref for ref in refs if listener_key(ref) in keys}


def scopes(connection: Connection, keys: Collection[str]) -> dict[str, str]:
    """Return whose events subscriptions get, by what their deliveries are kept under; of other listeners ``""``."""
    refs = [ref for key in keys if (ref := subscription_ref(key)) is not None]
    found = connection.execute(select(subscriptions.c.ref, subscriptions.c.scope).where(subscriptions.c.ref.in_(refs)))
    return {**dict.fromkeys(keys, ""), **{listener_key(ref): scope for ref, scope in found}}


def is_settled(connection: Connection, moment: datetime) -> bool:
    """Whether all that was being recorded at a moment has been, or has not, so that what waits can be seen.

    To be asked in a transaction that writes: on SQLite there is no other one then. On PostgreSQL, one that began before
    the moment, and may be about to commit deliveries, is looked for among the sessions that this user may see.
    """
    if connection.dialect.name == "sqlite":
        return True
    settled: bool = connection.execute(_SETTLED, {"moment": moment}).scalar_one()
    return settled


def remove(connection: Connection, ref: int) -> bool:
    """Remove a subscription; its deliveries that wait are discarded when they are due. False where it is not there."""
    return connection.execute(delete(subscriptions).where(subscriptions.c.ref == ref)).rowcount == 1


_SETTLED = text(
    "SELECT coalesce(min(xact_start), clock_timestamp()) > :moment FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
)

_SUBSCRIPTIONS = select(
    subscriptions,
    # No pattern holds a blank.
    select(func.aggregate_strings(subscription_patterns.c.pattern, " "))
    .where(subscription_patterns.c.subscription_ref == subscriptions.c.ref)
    .scalar_subquery()
    .label("patterns"),
)


def _set_patterns(connection: Connection, ref: int, patterns: Sequence[str], subject: str | None, scope: str) -> None:
    connection.execute(delete(subscription_patterns).where(subscription_patterns.c.subscription_ref == ref))
    rows = [
        {"subscription_ref": ref, "pattern": pattern, "subject": subject, "scope": scope} for pattern in set(patterns)
    ]
    connection.execute(insert(subscription_patterns), rows)


def _renamed_pattern(pattern: str) -> list[str]:
    warnings.warn("pattern= is called patterns= now, and takes a list", DeprecationWarning, stacklevel=3)
    return [pattern]


def _refuse(problems: dict[str, str]) -> None:
    if problems:
        raise SubscriptionError(problems)
