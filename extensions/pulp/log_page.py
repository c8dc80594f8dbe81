"""Page of the event log with the event listeners: their notifiers, recipients and event types, and their deliveries."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, select

from extension_kit.protocol import BadPlace, Cell, LogTable, subscription_groups

from .listeners import SOURCE
from .notifiers import DEFAULT_EXCHANGE, recipients
from .settings import PulpSettings
from .tables import listeners

_MOST_NAMED = 3
_LARGEST = 2**63 - 1
_COLUMNS = ("Listener", "Notifier", "Recipients", "Event types", "Created", "Waiting deliveries", "Dead letters")


def read_listeners(connection: Connection, settings: PulpSettings, before: str | None, limit: int) -> LogTable:
    """Read a page of event listeners, newest first, with the numbers of their waiting deliveries and dead letters."""
    query = select(listeners).order_by(listeners.c.ref.desc()).limit(limit + 1)
    if before is not None:
        query = query.where(listeners.c.ref < _place(before))
    found = connection.execute(query).all()
    counts = subscription_groups.count_deliveries(connection, SOURCE, [row.id for row in found[:limit]])
    return LogTable(
        _COLUMNS,
        [(*_described(row), row.created_at, *counts[row.id].shown) for row in found[:limit]],
        next=str(found[limit - 1].ref) if len(found) > limit else None,
    )


def _place(place: str) -> int:
    if not (place.isascii() and place.isdigit()) or len(place) > len(str(_LARGEST)) or int(place) > _LARGEST:
        raise BadPlace
    return int(place)


def _described(row: Row[Any]) -> tuple[Cell, ...]:
    """Return the cells of a listener. Its configuration is as a client sent it, without its password."""
    notifier, config = row.notifier_type_id, row.notifier_config
    if notifier == "email":
        notified = _first(recipients(notifier, config))
    else:
        notified = str(config.get("url") or "" if notifier == "http" else config.get("exchange") or DEFAULT_EXCHANGE)
    return row.id, notifier, notified, _first(row.event_types)


def _first(texts: Sequence[str]) -> str:
    more = len(texts) - _MOST_NAMED
    return ", ".join([*texts[:_MOST_NAMED], f"{more} more"] if more > 0 else texts)
