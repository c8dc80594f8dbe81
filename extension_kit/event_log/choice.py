"""Choice: the deliveries that an action of a person is for, by number or by filter, and their number."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

from sqlalchemy import Connection

from extension_kit.deliveries import replay
from extension_kit.deliveries.action_rows import DISCARD, REPLAY, RETRY_NOW
from extension_kit.deliveries.queries import Filter, count
from extension_kit.deliveries.tables import DEAD, WAITING
from extension_kit.deliveries.waiting import Changed, discard_waiting, retry_now
from extension_kit.event_log.filters import to_query
from extension_kit.event_log.paging import BadFilter
from extension_kit.store.database import Database

_STATUSES = {REPLAY: (DEAD,), DISCARD: (DEAD, WAITING), RETRY_NOW: (WAITING,)}
_NOUNS = {DEAD: ("dead letter", "dead letters"), WAITING: ("waiting delivery", "waiting deliveries")}
_ONLY = {
    REPLAY: "Only dead letters can be replayed",
    DISCARD: "Only dead letters and waiting deliveries can be discarded",
    RETRY_NOW: "Only waiting deliveries can be tried now",
}


class BadChoice(BadFilter):
    """An action cannot be for these deliveries; the message is a sentence for people."""


class Choice(NamedTuple):
    """Deliveries that an action is for.

    Attributes:
        kind: ``replay``, ``discard`` or ``retry now``.
        wanted: filter, without a status.
        statuses: of the deliveries that the action changes; it leaves others alone.
    """

    kind: str
    wanted: Filter
    statuses: tuple[str, ...]

    def count(self, connection: Connection) -> int:
        """Return the number of deliveries."""
        return sum(count(connection, wanted) for wanted in self._filters())

    def changes(self, database: Database) -> Iterator[Changed]:
        """Make the action; yields a result for each batch.

        Raises:
            StoreError: the database cannot be used; what was changed before stays so.
        """
        for wanted in self._filters():
            yield from _CHANGES[self.kind, wanted.status](database, wanted)

    def query(self) -> str:
        """Return the choice as in the address of a page; deliveries with numbers are meant whatever becomes of them."""
        status = None if self.wanted.refs and self.statuses == _STATUSES[self.kind] else self.statuses[0]
        return to_query(replace(self.wanted, status=status))

    @property
    def nouns(self) -> str:
        """The plural of the deliveries, such as ``dead letters``."""
        return self._nouns[1]

    def noun(self, number: int) -> str:
        """Return the number with its noun, such as ``12 dead letters``."""
        return f"{number:,} {self._nouns[number != 1]}"

    def is_change(self, expected: int, number: int) -> bool:
        """Return True if a number differs from the expected one so that a person has to be asked again.

        Waiting deliveries are delivered all the time: fewer of them than expected are no change, unless there are none.
        """
        is_less = WAITING in self.statuses and 0 < number < expected
        return number != expected and not is_less

    @property
    def _nouns(self) -> tuple[str, str]:
        return _NOUNS[self.statuses[0]] if len(self.statuses) == 1 else ("delivery", "deliveries")

    def _filters(self) -> Iterator[Filter]:
        return (replace(self.wanted, status=status) for status in self.statuses)


def choose(kind: str, wanted: Filter) -> Choice:
    """Return the choice of all deliveries that match a filter and have been created by now.

    A filter without a status is for dead letters, or with ``retry now`` for waiting deliveries; one with numbers is for
    all with a status that the action can change.

    Raises:
        BadChoice: the filter has a status whose deliveries the action cannot change.
    """
    allowed = _STATUSES[kind]
    if wanted.status is not None and wanted.status not in allowed:
        raise BadChoice(f"{_ONLY[kind]}, and the filter is for deliveries with the status {wanted.status}.")
    statuses = (wanted.status,) if wanted.status else allowed if wanted.refs else allowed[:1]
    until = wanted.before if wanted.before or wanted.refs else datetime.now(UTC)
    return Choice(kind, replace(wanted, status=None, before=until), statuses)


def _counted(
    change: Callable[[Database, Filter], Iterator[int]], database: Database, wanted: Filter
) -> Iterator[Changed]:
    return (Changed(number, 0) for number in change(database, wanted))


_CHANGES: dict[tuple[str, str | None], Callable[[Database, Filter], Iterator[Changed]]] = {
    (REPLAY, DEAD): partial(_counted, replay.replay),
    (DISCARD, DEAD): partial(_counted, replay.discard),
    (DISCARD, WAITING): discard_waiting,
    (RETRY_NOW, WAITING): retry_now,
}
