"""Event recorder: commits the events of agents in groups, for their durable listeners and for subscriptions."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from extension_kit.deliveries.entries import Entry, entry_of
from extension_kit.deliveries.group_commit import GroupCommit
from extension_kit.deliveries.outbox import Outbox
from extension_kit.errors import StoreError
from extension_kit.events.event import Event
from extension_kit.events.registry import Listener
from extension_kit.observability import metrics

logger = logging.getLogger("extension_kit.deliveries")


class EventRecorder(GroupCommit[Entry, bool]):
    """Group commit of events.

    Args:
        outbox: commits entries.
        limit: maximum number of events waiting for their commit.
        options: those of ``GroupCommit``.
    """

    def __init__(self, outbox: Outbox, limit: int, **options: Any) -> None:
        super().__init__(_EntryWriter(outbox), limit, **options)

    def record(
        self,
        event: Event,
        listeners: Sequence[Listener],
        tell: Callable[[bool], None],
        known: Callable[[], None] = lambda: None,
    ) -> bool:
        """Queue an event for its commit. ``tell`` is called with True if it was stored, False if not.

        An event that is stored late is known as a duplicate when it is sent again. Before ``tell``, ``known`` is called
        if the commit added no delivery: all its events had been recorded for these listeners before.

        Returns:
            True if ``tell`` will be called, or has been; False if too many events wait, or after ``close``.
        """

        def told(added: bool | Exception) -> None:
            if isinstance(added, Exception):
                if not isinstance(added, StoreError):
                    logger.error("1 events not stored", exc_info=added)
                tell(False)
                return
            if listeners and not added:
                known()
            tell(True)

        return self.add(entry_of(event, listeners), told)


class _EntryWriter:
    """Commits entries; the result of each is True if its group added deliveries."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self.check_writable = outbox.check_writable
        self.database_name = outbox.database_name

    def commit(self, items: Sequence[Entry]) -> Sequence[bool]:
        started = time.perf_counter()
        added = self._outbox.record(items)
        metrics.committed(len(items), time.perf_counter() - started)
        return [added > 0] * len(items)
