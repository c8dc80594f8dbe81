"""Event recorder: commits the events of agents in groups, for their durable listeners and for subscriptions."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from extension_kit.deliveries.entries import started_step
from extension_kit.deliveries.group_commit import GroupCommit
from extension_kit.deliveries.inbox import Accepted, Inbox
from extension_kit.errors import StoreError
from extension_kit.events.event import Event
from extension_kit.events.registry import Listener
from extension_kit.observability import metrics, tracing

logger = logging.getLogger("extension_kit.deliveries")


class EventRecorder(GroupCommit[Accepted, None]):
    """Group commit of events.

    Args:
        inbox: takes the events.
        limit: maximum number of events waiting for their commit.
        remembers_steps: True if immediate listeners may ask for the step of an event that is not filed yet.
        options: those of ``GroupCommit``.
    """

    def __init__(self, inbox: Inbox, limit: int, *, remembers_steps: bool = True, **options: Any) -> None:
        super().__init__(_InboxWriter(inbox), limit, **options)
        self._remembers_steps = remembers_steps
        self._accepted = Accepted if tracing.spans is None else _accepted_in_trace

    def record(self, event: Event, listeners: Sequence[Listener], tell: Callable[[bool], None]) -> bool:
        """Queue an event for its commit. ``tell`` is called with True if it was stored, False if not.

        An event that is stored late, or sent to another process, too, is known as a duplicate when it is filed.

        Returns:
            True if ``tell`` will be called, or has been; False if too many events wait, or after ``close``.
        """

        def told(failure: Exception | None) -> None:
            if failure is not None and not isinstance(failure, StoreError):
                logger.error("1 events not stored", exc_info=failure)
            tell(failure is None)

        step = started_step(event) if self._remembers_steps else None
        return self.add(self._accepted(event.body, tuple([listener.key for listener in listeners]), step), told)


def _accepted_in_trace(body: bytes, listeners: tuple[str, ...], step: tuple[str, str] | None) -> Accepted:
    return Accepted(body, listeners, step, tracing.current_trace_context())


class _InboxWriter:
    """Appends events to the inbox."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self.check_writable = inbox.check_writable
        self.database_name = inbox.database.name

    def commit(self, items: Sequence[Accepted]) -> Sequence[None]:
        started = time.perf_counter()
        self._inbox.append(items)
        metrics.committed(len(items), time.perf_counter() - started)
        return [None] * len(items)
