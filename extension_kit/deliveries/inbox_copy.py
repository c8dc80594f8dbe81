"""Inbox copy: files the events of one database's inbox in another database, which is a copy of the first."""

from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager

from extension_kit.deliveries.filing import Filing
from extension_kit.deliveries.inbox import Inbox
from extension_kit.deliveries.inbox_rows import Group, add_group, all_groups, count_events
from extension_kit.deliveries.outbox import Outbox
from extension_kit.deliveries.subscription_matching import matching
from extension_kit.store.database import Database


@contextmanager
def unfiled_events(database: Database) -> Iterator[Iterable[Group]]:
    """Read the events that are not filed at this moment, oldest first.

    Raises:
        StoreError: the inbox cannot be read.
    """
    with closing(Inbox(database)) as inbox:
        if not inbox.exists:
            yield []
            return
        with inbox.database.read() as connection:
            count_events(connection)  # the first statement fixes the moment
            yield all_groups(connection)


def file_in(database: Database, unfiled: Iterable[Group]) -> int:
    """File events in a database that no process uses, and return their number.

    Raises:
        StoreError: the database cannot be used.
    """
    with closing(Inbox(database)) as inbox:
        inbox.prepare()
        with inbox.database.transaction() as connection:
            for group in unfiled:
                add_group(connection, group)
        number = Filing(inbox, Outbox(database, matching), database).file_all()
        if not inbox.unfiled().events:
            inbox.remove_file()
    return number
