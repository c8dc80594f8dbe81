"""The periodic task that gives listeners of all types the types of the settings, after these have changed."""

from sqlalchemy import delete, insert, select

from extension_kit.protocol import Kit

from .encryption import Passwords
from .event_types import all_types
from .listeners import Listeners
from .settings import PulpSettings
from .tables import known_types


def renew_types(kit: Kit, settings: PulpSettings, *, limit: int = 200) -> None:
    """Compare the event types of the settings with those of the database, and renew the listeners of ``*``.

    Args:
        kit: the kit.
        settings: the event types.
        limit: maximum number of listeners that one transaction renews.
    """
    types = all_types(settings.event_types, kit.event_names)
    with kit.read() as connection:
        if set(connection.execute(select(known_types.c.name)).scalars()) == set(types):
            return
    listeners = Listeners(kit, Passwords(kit, settings), types)
    after: int | None = 0
    while after is not None:
        with kit.transaction() as transaction:
            after = listeners.renew_types(transaction.connection, after, limit)
    with kit.transaction() as transaction:
        transaction.connection.execute(delete(known_types))
        transaction.connection.execute(insert(known_types), [{"name": name} for name in types])
