"""Group commit: events that arrive together in a process are committed together, each is told of its own commit."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from extension_kit import metrics
from extension_kit.deliveries.outbox import Entry, Outbox
from extension_kit.errors import StoreError
from extension_kit.events.event import Event
from extension_kit.events.registry import Listener

logger = logging.getLogger("extension_kit.deliveries")

Tell = Callable[[bool], None]

_STEP_STARTED = "experiment.execution.step-started"

_CHECK_INTERVAL = 2.0  # seconds without an event, after which it is seen whether the database can be written


class _Waiting(NamedTuple):
    entry: Entry
    tell: Tell


class GroupCommit:
    """One thread that commits what has come in while the commit before was under way.

    A commit waits for the disk; doing it once for many events is what makes accepting them cheap, and one writer a
    process is what SQLite likes.

    Args:
        outbox: commits entries.
        limit: how many events may wait for their commit.
        group: how many are committed together at most.
    """

    def __init__(self, outbox: Outbox, limit: int, group: int = 256) -> None:
        self._outbox = outbox
        self._limit = limit
        self._group = group
        self._waiting: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._works = True
        self.notice: Callable[[bool], None] = lambda works: None
        """Told whenever it turns out that the database can, or cannot, be written."""

    def record(self, event: Event, listeners: Sequence[Listener], tell: Tell) -> bool:
        """Commit an event, and tell from another thread whether that succeeded; False where too many wait for it."""
        if self._waiting.qsize() >= self._limit:
            return False
        step = event.experiment_step_execution if event.name == _STEP_STARTED else None
        entry = Entry(
            event.source,
            event.id,
            event.name,
            event.subject,
            event.time,
            event.body,
            event.series,
            tuple(listener.key for listener in listeners),
            step.id if step else None,
        )
        self._waiting.put(_Waiting(entry, tell))
        if self._thread is None:
            self._start()
        return True

    def close(self, timeout: float) -> None:
        """Commit what waits and stop, within ``timeout`` seconds."""
        self._waiting.put(None)
        if self._thread is not None:
            self._thread.join(timeout)

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="group-commit", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        while True:
            try:
                first = self._waiting.get(timeout=_CHECK_INTERVAL)
            except queue.Empty:
                self._note(self._outbox.is_writable())
                continue
            if first is None:
                return
            group = [first]
            while len(group) < self._group and not self._waiting.empty():
                if (more := self._waiting.get()) is None:
                    self._commit(group)
                    return
                group.append(more)
            self._commit(group)

    def _commit(self, group: Sequence[_Waiting]) -> None:
        started = time.perf_counter()
        try:
            self._outbox.record([waiting.entry for waiting in group])
            metrics.committed(len(group), time.perf_counter() - started)
            stored = True
        except StoreError as error:
            logger.error("%d events not stored: %s", len(group), error)  # noqa: TRY400 (one line, the cause is in it)
            stored = False
        except Exception:
            # Whatever it is, the senders must hear that nothing was stored, and the next group gets its chance.
            logger.exception("%d events not stored", len(group))
            stored = False
        self._note(stored)
        for waiting in group:
            waiting.tell(stored)

    def _note(self, works: bool) -> None:
        if works != self._works:
            self._works = works
            self.notice(works)
