"""Adoption: hands over the deliveries of a renamed listener to its new key."""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, exists, func, literal, select, text, update
from sqlalchemy.exc import IntegrityError

from extension_kit.deliveries.function_handlers import NOT_LOADED
from extension_kit.deliveries.notify import notify_workers
from extension_kit.deliveries.resharding import put_into_shards
from extension_kit.deliveries.subscription_matching import subscription_ref
from extension_kit.deliveries.tables import CLAIMED, DEAD, READY, WAITING, bounded, deliveries
from extension_kit.errors import ExtensionKitError

_MOST = 5  # listeners named in a message


class AdoptionError(ExtensionKitError):
    """Deliveries cannot be handed over; nothing was changed."""


class Adopted(NamedTuple):
    """Numbers of deliveries handed over, by status."""

    waiting: int
    dead: int


def orphans(connection: Connection, known: Collection[str]) -> dict[str, int]:
    """Count the waiting deliveries of functions that are not loaded.

    Args:
        connection: to read with.
        known: the keys of the loaded functions.

    Returns:
        Numbers of deliveries by listener key, in the order of the keys.
    """
    keys = {bounded(key) for key in known}
    return {key: number for key, number in _waiting(connection).items() if key not in keys}


def last_unknown(connection: Connection) -> dict[str, int]:
    """Count the waiting deliveries of functions not loaded at their last attempt; as ``orphans`` returns it."""
    tried = deliveries.c.error.endswith(NOT_LOADED, autoescape=True)
    unknown = select(deliveries.c.listener).where(deliveries.c.status == WAITING, tried)
    return _waiting(connection, deliveries.c.listener.in_(unknown))


def describe_orphans(orphans: dict[str, int], which: str) -> str:
    """Return a line that names waiting deliveries without a function, and how to end that.

    Args:
        orphans: at least one, as ``orphans`` returns it.
        which: the reason, as a relative clause.
    """
    named = [f"{number} for {key}" for key, number in list(orphans.items())[:_MOST]]
    if len(orphans) > _MOST:
        named.append(f"more for {len(orphans) - _MOST} others")
    return (
        f"Deliveries without a function: {', '.join(named)}, {which}. If a function, its path or its extension was "
        "renamed, `extension-kit deliveries adopt OLD NEW` hands them over; `discard --status waiting` throws them away"
    )


def adopt(connection: Connection, old: str, new: str) -> Adopted:
    """Hand over the waiting deliveries and dead letters of one listener to another.

    Each waiting delivery starts a new retry schedule, in the order of the events of both listeners.

    Args:
        connection: in a transaction that writes, which is to be rolled back for an error.
        old: the former key of the listener.
        new: its new key.

    Raises:
        AdoptionError: the keys do not fit, or a delivery is being attempted; the message names the remedy.
    """
    old, new = bounded(old), bounded(new)
    _check(connection, old, new)
    if connection.dialect.name == "postgresql":  # SQLite has one writing transaction at a time
        # A weaker mode would be granted beside workers that have locked rows and are about to write them: a deadlock.
        connection.execute(text("LOCK TABLE deliveries IN EXCLUSIVE MODE"))
    claimed = select(deliveries.c.ref).where(_of(old, WAITING), deliveries.c.stage == CLAIMED).limit(1)
    if (attempted := connection.execute(claimed).scalar()) is not None:
        raise AdoptionError(
            f"delivery {attempted} is being attempted right now: try again in a moment, or stop the worker that does it"
        )
    lock = literal(new).concat(func.substr(deliveries.c.lock, len(old) + 1))
    adopted = {"listener": new, "lock": lock}
    tried = {"uncounted_attempts": deliveries.c.attempts, "first_attempt_at": None, "losses": 0}
    anew = {**tried, "error": None, "due_at": datetime.now(UTC), "stage": READY}
    try:
        waiting = connection.execute(update(deliveries).where(_of(old, WAITING)).values({**adopted, **anew})).rowcount
        dead = connection.execute(update(deliveries).where(_of(old, DEAD)).values(adopted)).rowcount
    except IntegrityError:
        raise AdoptionError(f"an event that {old} has got has come in for {new} at this moment: try again") from None
    put_into_shards(connection, _of(new, WAITING, DEAD))
    notify_workers(connection)
    return Adopted(waiting, dead)


def _of(listener: str, *status: str) -> ColumnElement[bool]:
    return (deliveries.c.listener == listener) & deliveries.c.status.in_(status)


def _waiting(connection: Connection, *conditions: ColumnElement[bool]) -> dict[str, int]:
    """Count the waiting deliveries of functions, by listener."""
    query = select(deliveries.c.listener, func.count()).where(deliveries.c.status == WAITING, *conditions)
    found = connection.execute(query.group_by(deliveries.c.listener).order_by(deliveries.c.listener))
    return {key: number for key, number in found if subscription_ref(key) is None}


def _check(connection: Connection, old: str, new: str) -> None:
    if old == new:
        raise AdoptionError("both are the same listener")
    for key in (old, new):
        if subscription_ref(key) is not None:
            raise AdoptionError(f"{key} is a subscription, which has a number and no name: change its target instead")
        if "@/" not in key:
            raise AdoptionError(f"{key} is no listener's key, which looks like oncall.page@/events/page")
    if not connection.execute(select(exists().where(_of(old, WAITING, DEAD)))).scalar():
        waiting = ", ".join(list(_waiting(connection))[:_MOST]) or "nobody"
        raise AdoptionError(f"nothing waits for {old}, and it has no dead letters; deliveries wait for {waiting}")
    both = deliveries.alias()
    twice = select(deliveries.c.ref, both.c.ref).join(both, deliveries.c.event_ref == both.c.event_ref)
    twice = twice.where(_of(old, WAITING, DEAD), both.c.listener == new).order_by(deliveries.c.ref).limit(1)
    if found := connection.execute(twice).one_or_none():
        raise AdoptionError(
            f"{new} has got an event of {old} already, delivery {found[1]} beside delivery {found[0]}: "
            f"`extension-kit deliveries discard {found[0]}` throws that one away"
        )
