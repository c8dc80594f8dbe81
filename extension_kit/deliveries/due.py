"""Due deliveries: their numbers by listener, and how long the oldest has waited for a worker.

A delivery is due when the time of its attempt has come, until the attempt has ended. One with a paused receiver is
not due, and neither is one that a worker has found to be behind another with its lock. Each count reads an index and
ends at a maximum, so that it takes no longer however many deliveries wait.
"""

from bisect import insort
from collections.abc import Collection
from datetime import datetime
from itertools import pairwise
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, bindparam, func, literal_column, null, select, true

from extension_kit.deliveries.pauses import paused
from extension_kit.deliveries.shards import NUMBER
from extension_kit.deliveries.subscription_matching import SUBSCRIPTION
from extension_kit.deliveries.tables import CLAIMED, LATER, READY, bounded, deliveries
from extension_kit.observability.metrics import SUBSCRIPTIONS
from extension_kit.observability.metrics_page import Due

MOST = 10_000
"""Maximum number of deliveries that are counted for one label."""

MOST_AGES = 1000
"""Maximum number of these among which the oldest is looked for: beyond the index, each is read by itself."""

MOST_LISTENERS = 50
"""Maximum number of listeners with a label of their own; the others share ``OTHERS``."""

OTHERS = "other"

_d = deliveries.c
_LAST = "\U0010ffff"  # after all keys
_LAST_SUBSCRIPTION = SUBSCRIPTION + _LAST


def count_due(connection: Connection, listeners: Collection[str], now: datetime) -> list[Due]:
    """Count the due deliveries of each listener.

    Args:
        connection: to read with.
        listeners: keys of the loaded listeners, which are shown also without a due delivery.
        now: the present time.

    Returns:
        A number for each label, at most 10,000: a listener's key, ``subscription`` for all subscriptions together,
        ``other`` for the listeners beyond the first 50.
    """
    return _Count(connection, listeners, now).all()


class _Count:
    """Count of the due deliveries of a database."""

    def __init__(self, connection: Connection, listeners: Collection[str], now: datetime) -> None:
        self._connection = connection
        self._now = now
        self._paused = set(paused(connection))
        self._named = sorted({bounded(key) for key in listeners})[:MOST_LISTENERS]
        self._numbers = dict.fromkeys(self._named, 0)
        self._oldest: dict[str, datetime] = {}

    def all(self) -> list[Due]:
        self._name_others()
        self._count_ready()
        for row in self._connection.execute(_due_later(self._connection, self._now)):
            self._add(self._label(row.listener), row)
        for row in self._connection.execute(_CLAIMED):
            self._add(self._label(row.listener), row)
        return [Due(label, min(number, MOST), self._age(label)) for label, number in self._numbers.items()]

    def _name_others(self) -> None:
        """Give listeners that are not loaded a label of their own, as long as there are not too many."""
        after = ""
        while len(self._named) < MOST_LISTENERS:
            if (after := self._connection.execute(_NEXT, {"after": after}).scalar() or "") == "":
                return
            if after.startswith(SUBSCRIPTION):
                after = _LAST_SUBSCRIPTION
            elif after not in self._named and after not in self._paused:
                insort(self._named, after)

    def _count_ready(self) -> None:
        for key in self._named:
            if key not in self._paused:
                self._add_ready(key, _d.listener == key)
        self._add_between(SUBSCRIPTIONS, SUBSCRIPTION, _LAST_SUBSCRIPTION)
        if len(self._named) == MOST_LISTENERS:
            self._add_between(OTHERS, "", SUBSCRIPTION)
            self._add_between(OTHERS, _LAST_SUBSCRIPTION, _LAST)

    def _add_between(self, label: str, low: str, high: str) -> None:
        """Count ready deliveries of the listeners between two keys, but for those that are paused or have a label."""
        without = sorted(key for key in self._paused.union(self._named) if low < key < high)
        for after, before in pairwise([low, *without, high]):
            if self._numbers.get(label, 0) >= MOST:
                return
            self._add_ready(label, _d.listener > after, _d.listener < before)

    def _add_ready(self, label: str, *conditions: ColumnElement[bool]) -> None:
        order = (_d.listener, _d.shard, _d.ref)  # that of an index, which PostgreSQL then uses whatever it assumes
        ready = select(_d.listener, _d.due_at).where(_is(READY), *conditions).order_by(*order)
        number = select(func.count()).select_from(ready.with_only_columns(_d.listener).limit(MOST).subquery())
        first = ready.limit(MOST_AGES).subquery()
        oldest = select(func.min(first.c.due_at)).scalar_subquery().label("oldest")
        self._add(label, self._connection.execute(select(number.scalar_subquery().label("number"), oldest)).one())

    def _add(self, label: str | None, row: Row[Any, Any]) -> None:
        if label is None or not row.number:
            return
        self._numbers[label] = self._numbers.get(label, 0) + row.number
        if row.oldest is not None:
            self._oldest[label] = min(row.oldest, self._oldest.get(label, row.oldest))

    def _label(self, listener: str) -> str | None:
        """Return the label of a listener; None: it is paused."""
        if listener in self._paused:
            return None
        if listener.startswith(SUBSCRIPTION):
            return SUBSCRIPTIONS
        if listener in self._named or len(self._named) < MOST_LISTENERS:
            if listener not in self._named:
                insort(self._named, listener)
            return listener
        return OTHERS

    def _age(self, label: str) -> float:
        return max((self._now - self._oldest[label]).total_seconds(), 0.0) if label in self._oldest else 0.0


def _is(stage: str) -> ColumnElement[bool]:
    # As a part of the statement: databases then know which rows the index of the stage has.
    return _d.stage == literal_column(f"'{stage}'")


def _numbers(due_at: ColumnElement[Any]) -> tuple[ColumnElement[int], ColumnElement[Any]]:
    return func.count().label("number"), func.min(due_at).label("oldest")


def _due_later(connection: Connection, now: datetime) -> Select[Any]:
    """Return the query of deliveries that have become due since a worker last looked, by listener."""
    # One look at the index for each shard: the times are sorted within a shard only.
    some = select(_d.listener, _d.due_at).where(_is(LATER), _d.due_at <= now).order_by(_d.due_at).limit(MOST)
    if connection.dialect.name == "sqlite":
        found = some.where(_d.shard == 0).subquery()
        return select(found.c.listener, *_numbers(found.c.due_at)).group_by(found.c.listener)
    shard = func.generate_series(0, NUMBER - 1).table_valued("number", name="shard").render_derived()
    of_shard = some.where(_d.shard == shard.c.number).lateral()
    query = select(of_shard.c.listener, *_numbers(of_shard.c.due_at)).select_from(shard.join(of_shard, true()))
    return query.group_by(of_shard.c.listener)


_NEXT = (
    select(_d.listener)
    .where(_is(READY), _d.listener > bindparam("after"))
    .order_by(_d.listener, _d.shard, _d.ref)
    .limit(1)
)
_BEING_ATTEMPTED = select(_d.listener).where(_is(CLAIMED)).order_by(_d.shard).limit(MOST).subquery()
_CLAIMED = select(_BEING_ATTEMPTED.c.listener, func.count().label("number"), null().label("oldest")).group_by(
    _BEING_ATTEMPTED.c.listener
)
