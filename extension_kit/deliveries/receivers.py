"""Receivers: the listeners that deliveries are for, by their keys, with numbers of waiting and dead ones."""

from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, case, exists, func, or_, select

from extension_kit.deliveries.pauses import Paused, paused
from extension_kit.deliveries.subscription_matching import subscription_ref
from extension_kit.deliveries.tables import DEAD, WAITING, bounded, deliveries, paused_receivers, subscriptions


class Receiver(NamedTuple):
    """Receiver: its key, the numbers of its waiting deliveries and dead letters, and its pause; None: not paused."""

    key: str
    waiting: int
    dead: int
    paused: Paused | None


def find_receivers(connection: Connection, limit: int) -> list[Receiver]:
    """Return paused receivers, and then others that have deliveries, those with the most waiting ones first.

    It reads an index of all deliveries.

    Args:
        connection: to read with.
        limit: maximum number of the others.
    """
    pauses = paused(connection)
    found = [Receiver(key, *_numbers(connection, key), pause) for key, pause in pauses.items()]
    waiting, dead = _number_of(WAITING).label("waiting"), _number_of(DEAD).label("dead")
    others = select(deliveries.c.listener, waiting, dead).where(
        deliveries.c.listener.not_in(select(paused_receivers.c.listener).where(paused_receivers.c.resumed_at.is_(None)))
    )
    order = (waiting.desc(), dead.desc(), deliveries.c.listener)
    rows = connection.execute(others.group_by(deliveries.c.listener).order_by(*order).limit(limit))
    return found + [Receiver(row.listener, row.waiting, row.dead, None) for row in rows]


def number_waiting(connection: Connection, key: str) -> int:
    """Return the number of the waiting deliveries of a receiver."""
    return _numbers(connection, bounded(key))[0]


def is_known(connection: Connection, key: str) -> bool:
    """Return True if a receiver has deliveries, is a subscription or is paused."""
    has_delivery = exists().where(deliveries.c.listener == bounded(key))
    is_paused = exists().where(paused_receivers.c.listener == bounded(key))
    is_subscription = exists().where(subscriptions.c.ref == subscription_ref(key))
    return bool(connection.execute(select(or_(has_delivery, is_paused, is_subscription))).scalar())


def _number_of(status: str) -> ColumnElement[int]:
    return func.sum(case((deliveries.c.status == status, 1), else_=0))


def _numbers(connection: Connection, key: str) -> tuple[int, int]:
    """Return the numbers of the waiting deliveries and dead letters of a receiver."""
    of_status = (deliveries.c.listener == key) & deliveries.c.status.in_([WAITING, DEAD])
    query = select(deliveries.c.status, func.count().label("number")).where(of_status).group_by(deliveries.c.status)
    numbers = {row.status: row.number for row in connection.execute(query)}
    return numbers.get(WAITING, 0), numbers.get(DEAD, 0)
