"""Actions: replays, discards and retries by people, made one after the other in the background.

Each has a row in the table of actions, with its progress, from its beginning on. A thread of its own gives signs of
life of those that have not ended, however long one statement takes: without them an action is shown as interrupted, as
that of a process that was killed.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

from extension_kit.deliveries import action_rows
from extension_kit.deliveries.action_rows import ActionCancelled
from extension_kit.errors import ExtensionKitError, StoreError
from extension_kit.event_log.choice import Choice
from extension_kit.store import deadline
from extension_kit.store.database import Database

logger = logging.getLogger("extension_kit.event_log")

MOST_ACTIONS = 16
"""Number of actions of a process that have not ended."""

RETRY_AFTER = 5
"""Seconds after which people may try again when there are too many actions."""

_SIGN_EVERY = 5.0  # seconds
_LONGEST_PAUSE = 1.0  # seconds between two batches
_END_WITHIN = 60.0  # seconds for writing the end down while the database is away
_LOGGED = 500  # characters of a filter

_STOPPED = "The event log was stopped: deliveries that it had not reached are unchanged."
_FAILED = (
    "It failed unexpectedly, and the log of the event log says why: deliveries that it had not reached are unchanged."
)


class TooManyActions(ExtensionKitError):
    """Too many actions have not ended yet: try again when one of them has."""


class NothingChosen(ExtensionKitError):
    """No delivery can be changed; the message is a sentence for people."""


class CountChanged(ExtensionKitError):
    """The number of the deliveries is not the expected one.

    Args:
        number: the present number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"There are {number:,} of these deliveries now")
        self.number = number


class ActionEnded(ExtensionKitError):
    """The action has ended already."""


class _Job(NamedTuple):
    """An action to be made."""

    ref: int
    choice: Choice
    expected: int
    made_by: str


class Actions:
    """The actions of a process, made in a thread that the first one starts.

    Args:
        database: holds the deliveries and the rows of actions.
        tell: called whenever an action has changed deliveries, or has ended.
    """

    def __init__(self, database: Database, tell: Callable[[], None] = lambda: None) -> None:
        self._database = database
        self._tell = tell
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._room = threading.Semaphore(MOST_ACTIONS)
        self._going_on: set[int] = set()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def begin(self, choice: Choice, expected: int | None, made_by: str) -> int:
        """Have an action made in the background, and return the number of its row.

        Args:
            choice: the deliveries.
            expected: number of them that its maker has seen; None if they are named one by one.
            made_by: name of the person.

        Raises:
            CountChanged: the number has changed meanwhile; nothing is begun.
            NothingChosen: there is no such delivery.
            TooManyActions: there are as many actions as this process makes.
            StoreError: the database cannot be used.
        """
        with self._database.read() as connection:
            number = choice.count(connection)
        if expected is not None and choice.is_change(expected, number):
            raise CountChanged(number)
        if number == 0:
            raise NothingChosen(f"There are no {choice.nouns} among these deliveries.")
        if self._stopped.is_set() or not self._room.acquire(blocking=False):
            raise TooManyActions
        try:
            with self._database.transaction() as connection:
                ref = action_rows.begin(connection, choice.kind, made_by, choice.query(), number, datetime.now(UTC))
        except BaseException:
            self._room.release()
            raise
        with self._lock:
            self._going_on.add(ref)
        self._jobs.put(_Job(ref, choice, number, made_by))
        self._start()
        return ref

    def cancel(self, ref: int, cancelled_by: str) -> None:
        """Have an action end after its batch, also one of another process.

        Args:
            ref: number of its row.
            cancelled_by: name of the person.

        Raises:
            ActionEnded: it has ended already, or there is none.
            StoreError: the database cannot be used.
        """
        with self._database.transaction() as connection:
            if not action_rows.cancel(connection, ref, cancelled_by, datetime.now(UTC)):
                raise ActionEnded
        logger.info("Action cancelled", extra={"fields": {"action": ref, "by": cancelled_by}})

    def stop(self, timeout: float) -> None:
        """End the action in progress after its batch, begin no further one, and wait at most ``timeout`` seconds."""
        self._stopped.set()
        self._jobs.put(None)
        ends_at = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(ends_at - time.monotonic(), 0))

    def _start(self) -> None:
        with self._lock:
            if not self._threads:
                runs = {"event-log-actions": self._make_all, "event-log-signs": self._give_signs}
                self._threads = [threading.Thread(target=run, name=name, daemon=True) for name, run in runs.items()]
                for thread in self._threads:
                    thread.start()

    def _make_all(self) -> None:
        with deadline.patiently():  # nobody waits for them
            while (job := self._jobs.get()) is not None:
                try:
                    self._make(job)
                except Exception:  # the thread is not replaced
                    logger.exception("Action %d failed", job.ref)
                with self._lock:
                    self._going_on.discard(job.ref)
                self._room.release()

    def _make(self, job: _Job) -> None:
        fields = {"action": job.ref, "kind": job.choice.kind, "by": job.made_by}
        shown = {"filter": job.choice.query()[:_LOGGED], "expected": job.expected}
        logger.info("Action begun", extra={"fields": {**fields, **shown}})
        done = _Progress()
        error: str | None = _STOPPED
        try:
            if not self._stopped.is_set():
                error = self._change(job, done)
        except (StoreError, ActionCancelled) as problem:
            error = str(problem)
        except Exception:
            logger.exception("Action failed", extra={"fields": fields})
            error = _FAILED
        if error is None:
            done.skipped = max(job.expected - done.changed, 0)
        self._end(job.ref, done, error)
        result = {"changed": done.changed, "skipped": done.skipped}
        if error is None:
            logger.info("Action done", extra={"fields": {**fields, **result}})
        else:
            logger.warning("Action ended early: %s", error, extra={"fields": {**fields, **result}})

    def _change(self, job: _Job, done: "_Progress") -> str | None:
        """Change the deliveries in batches; return the reason if it ends early.

        Raises:
            ActionCancelled: somebody has cancelled it.
            StoreError: the database cannot be used.
        """
        self._report(job.ref, done)  # it may have been cancelled while others were made
        began = time.monotonic()
        for changed, attempted in job.choice.changes(self._database):
            done.changed += changed
            done.skipped += attempted
            self._report(job.ref, done)
            # As long as the batch took, so that others can write.
            if self._stopped.wait(min(time.monotonic() - began, _LONGEST_PAUSE)):
                return _STOPPED
            began = time.monotonic()
        return None

    def _report(self, ref: int, done: "_Progress") -> None:
        with self._database.transaction() as connection:
            action_rows.report(connection, ref, done.changed, done.skipped, datetime.now(UTC))
        self._tell()

    def _end(self, ref: int, done: "_Progress", error: str | None) -> None:
        give_up_at = time.monotonic() + _END_WITHIN
        while True:
            try:
                with self._database.transaction() as connection:
                    action_rows.end(connection, ref, done.changed, done.skipped, datetime.now(UTC), error)
            except StoreError as problem:
                if self._stopped.wait(1.0) or time.monotonic() > give_up_at:
                    logger.error("The end of action %d could not be written: %s", ref, problem)  # noqa: TRY400
                    return
            else:
                self._tell()
                return

    def _give_signs(self) -> None:
        while not self._stopped.wait(_SIGN_EVERY):
            with self._lock:
                refs = sorted(self._going_on)
            if refs:
                try:
                    with self._database.transaction() as connection:
                        action_rows.give_sign(connection, refs, datetime.now(UTC))
                except StoreError as problem:
                    logger.debug("Signs of life of actions could not be written: %s", problem)


class _Progress:
    """Numbers of deliveries that an action has changed, and skipped because they had changed meanwhile."""

    changed = 0
    skipped = 0
