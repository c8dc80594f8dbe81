"""Doubts: probable mistakes that the start can find, for warnings in the log.

Stored values that no key can read, most often because the key was changed, and functions that listen to no event.
"""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Column, select

from extension_kit.protocol import Kit

from .encryption import VARIABLE, Encryption, OtherKey
from .received_event import SOURCE
from .settings import EventhosSettings
from .tables import actions, clients, events, received

_MOST_TRIED = 100  # values of a column
_KINDS: dict[str, tuple[Column[Any], int]] = {
    "secrets of clients": (clients.c.secret, _MOST_TRIED),
    "requests of actions": (actions.c.request, _MOST_TRIED),
    "credentials of actions": (actions.c.security, _MOST_TRIED),
    "the oldest event of the log": (received.c.request, 1),  # which may be large
}
"""Columns of encrypted values, and how many of each are tried."""


def find_doubts(kit: Kit, settings: EventhosSettings) -> Iterator[str]:
    """Find probable mistakes, in sentences.

    Raises:
        StoreError: the database cannot be used.
    """
    yield from _unreadable(kit, Encryption.of(kit, settings))
    yield from _unheard(kit)


def _unreadable(kit: Kit, encryption: Encryption) -> Iterator[str]:
    """Try to decrypt some values of each kind."""
    tried, found = 0, {}
    for kind, (column, most) in _KINDS.items():
        table = column.table
        query = select(column).where(column.is_not(None)).order_by(table.c.id).limit(most)
        if "deleted" in table.c:
            query = query.where(~table.c.deleted)
        with kit.read() as connection:
            values = connection.execute(query).scalars().all()
        tried += len(values)
        if unreadable := sum(not _is_readable(encryption, value) for value in values):
            found[kind] = unreadable
    if found:
        yield (
            f"{sum(found.values())} of {tried} stored values that were tried cannot be read by the key of {VARIABLE} "
            f"({', '.join(found)}): set it to the present key and the former one, with a comma between them"
        )


def _unheard(kit: Kit) -> Iterator[str]:
    """Look for the events of functions that listen to one by its identifier."""
    prefix = f"{SOURCE}."
    names = {name.removeprefix(prefix) for name in kit.listened_to if name.startswith(prefix) and "*" not in name}
    if not names:
        return
    with kit.read() as connection:
        known = connection.execute(select(events.c.identifier).where(events.c.identifier.in_(names), ~events.c.deleted))
        names.difference_update(known.scalars())
    if names:
        yield (
            f"A function listens to {', '.join(f'{prefix}{name}' for name in sorted(names))}, and no event has that "
            f"identifier yet. {prefix}<identifier> is one event, its suffix included; {prefix}* are all of them"
        )


def _is_readable(encryption: Encryption, value: bytes) -> bool:
    try:
        encryption.decrypt(value)
    except OtherKey:
        return False
    return True
