"""Subscriptions: rows that want events as decorated functions do, made and changed at run time."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol, TypedDict, Unpack

from sqlalchemy import Connection, delete, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from extension_kit.deliveries.retry import RetrySchedule
from extension_kit.deliveries.subscription_matching import MAX_PATTERN, listener_key, subscription_ref
from extension_kit.deliveries.tables import WAITING, deliveries, subscriptions
from extension_kit.errors import ExtensionKitError, RegistrationError
from extension_kit.events.patterns import check_pattern

_LENGTHS = {"protocol": 64, "name": 255, "pattern": MAX_PATTERN, "subject": 255, "scope": 255}
_OPTIONAL = {"subject": None, "scope": ""}


class SubscriptionError(ExtensionKitError):
    """A subscription cannot be as somebody wants it.

    Args:
        problems: what is wrong, by key; keys of the target are written ``target.url``.
    """

    def __init__(self, problems: dict[str, str]) -> None:
        super().__init__("; ".join(f"{key}: {problem}" for key, problem in problems.items()))
        self.problems = problems


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
        pattern: the names of the events, such as ``experiment.execution.*``.
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
    pattern: str
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


class Changes(TypedDict, total=False):
    """What of a subscription can be changed."""

    pattern: str
    subject: str | None
    target: dict[str, Any]
    retry: Sequence[float] | None
    enabled: bool
    expires_at: datetime | None


def add(
    connection: Connection,
    senders: CheckTargets,
    *,
    protocol: str,
    name: str,
    pattern: str,
    sender: str,
    target: dict[str, Any],
    subject: str | None = None,
    scope: str = "",
    retry: Sequence[float] | None = None,
    enabled: bool = True,
    expires_at: datetime | None = None,
) -> Subscription:
    """Make a subscription, which gets the events that are recorded from then on.

    Raises:
        SubscriptionError: it cannot be so, or the protocol has one of this name; nothing was stored.
    """
    row: dict[str, Any] = {
        "protocol": protocol,
        "name": name,
        "pattern": pattern,
        "subject": subject,
        "scope": scope,
        "sender": sender,
        "target": target,
        "retry": retry,
        "enabled": enabled,
        "expires_at": expires_at,
        "created_at": datetime.now(UTC),
    }
    _refuse(_problems(row) | senders.check(sender, target))
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    inserted = dialect.insert(subscriptions).values(row).on_conflict_do_nothing().returning(*subscriptions.c)
    if (stored := connection.execute(inserted).one_or_none()) is None:
        raise SubscriptionError({"name": f"{protocol} has a subscription of this name."})
    return Subscription(*stored)


def get(connection: Connection, ref: int) -> Subscription | None:
    """Return the subscription of a number, if it is there."""
    row = connection.execute(select(subscriptions).where(subscriptions.c.ref == ref)).one_or_none()
    return Subscription(*row) if row else None


def find(connection: Connection, protocol: str, name: str) -> Subscription | None:
    """Return the subscription of a name, if it is there."""
    mine = (subscriptions.c.protocol == protocol, subscriptions.c.name == name)
    row = connection.execute(select(subscriptions).where(*mine)).one_or_none()
    return Subscription(*row) if row else None


def find_all(
    connection: Connection, protocol: str | None = None, *, after: int = 0, limit: int = 100
) -> list[Subscription]:
    """Return subscriptions, oldest first: at most ``limit`` behind the one whose ref is ``after``."""
    query = select(subscriptions).where(subscriptions.c.ref > after).order_by(subscriptions.c.ref).limit(limit)
    if protocol is not None:
        query = query.where(subscriptions.c.protocol == protocol)
    return [Subscription(*row) for row in connection.execute(query)]


def change(connection: Connection, senders: CheckTargets, ref: int, **changes: Unpack[Changes]) -> Subscription | None:
    """Change a subscription; None where it is not there.

    A new target or retry schedule also counts for the deliveries that wait. One that is disabled or has expired gets no
    new events; what was recorded for it before is still delivered.

    Raises:
        SubscriptionError: it cannot be so; nothing was changed.
    """
    mine = subscriptions.c.ref == ref
    row = connection.execute(select(subscriptions).where(mine).with_for_update()).mappings().one_or_none()
    if row is None:
        return None
    changed = {**row, **changes}
    # A target that stays is not looked at: what cannot be used any more can still be disabled.
    _refuse(_problems(changed) | (senders.check(row["sender"], changes["target"]) if "target" in changes else {}))
    connection.execute(update(subscriptions).where(mine).values({key: changed[key] for key in Changes.__annotations__}))
    return get(connection, ref)


def waiting(connection: Connection, refs: Collection[int]) -> set[int]:
    """Return those of the subscriptions for which something waits to be delivered."""
    keys = [listener_key(ref) for ref in refs]
    query = select(deliveries.c.listener).where(deliveries.c.listener.in_(keys), deliveries.c.status == WAITING)
    return {ref for key in connection.execute(query.distinct()).scalars() if (ref := subscription_ref(key)) is not None}


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


def _refuse(problems: dict[str, str]) -> None:
    if problems:
        raise SubscriptionError(problems)


def _problems(row: Mapping[str, Any]) -> dict[str, str]:
    problems = {
        key: f"A text of 1 to {longest} characters is needed."
        for key, longest in _LENGTHS.items()
        if not (_is_text(row[key], longest) or (key in _OPTIONAL and row[key] == _OPTIONAL[key]))
    }
    if "pattern" not in problems:
        try:
            check_pattern(row["pattern"])
        except RegistrationError as error:
            problems["pattern"] = str(error)
    try:
        RetrySchedule.of(row["retry"])
    except RegistrationError as error:
        problems["retry"] = str(error)
    expires_at = row["expires_at"]
    if expires_at is not None and (not isinstance(expires_at, datetime) or expires_at.utcoffset() is None):
        problems["expires_at"] = "A time with its offset from UTC is needed."
    return problems


def _is_text(value: object, longest: int) -> bool:
    """Whether both stores can keep it."""
    return isinstance(value, str) and 0 < len(value) <= longest and "\x00" not in value
