"""Function handlers: how deliveries to decorated functions are made."""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import MappingProxyType

from sqlalchemy import Connection

from extension_kit.deliveries.handler import Due, FindHandler, Handler
from extension_kit.deliveries.retry import RetrySchedule
from extension_kit.deliveries.state import ChangedOutcome
from extension_kit.deliveries.tables import bounded
from extension_kit.errors import GiveUp, NotReady, RetryLater
from extension_kit.events.event import STEADYBIT, Event, FindStep, set_attempt
from extension_kit.events.pending import text_of
from extension_kit.events.published import PublishedEvent
from extension_kit.events.registry import Listener
from extension_kit.events.state import EventAttempt, State
from extension_kit.senders import Outcome

logger = logging.getLogger("extension_kit.events")

NOT_LOADED = "is not loaded in this worker"
"""End of the error of a delivery to a function that is not loaded in the worker."""

Views = Mapping[str, type[PublishedEvent]]
"""Event class that functions are called with, by source, except for Steadybit's."""

MakeState = Callable[[str, Due, float], State]
"""Makes the state of an extension for an attempt, of which it gets the deadline by ``time.monotonic()``."""


def function_handlers(
    listeners: Iterable[Listener],
    timeout: float,
    find_step: FindStep,
    views: Views = MappingProxyType({}),
    make_state: MakeState | None = None,
    others: Mapping[str, Handler] = MappingProxyType({}),
) -> FindHandler:
    """Return a function that finds the handler of a decorated function by its listener key.

    A function that is not loaded here may be in the next version or in another process, so its deliveries are kept and
    tried again like those of one that fails.

    Args:
        listeners: the functions.
        timeout: seconds a function may take, where it has no limit of its own.
        find_step: finds the step for ``event.step``.
        views: event classes of other protocols, by source.
        make_state: makes the state for ``event.state``; None: there is none.
        others: handlers of target listeners, by listener key.
    """
    handlers = {
        key: others.get(listener.key) or function_handler(listener, timeout, find_step, views, make_state)
        for key, listener in listeners_by_key(listeners).items()
    }

    def find(key: str, connection: Connection) -> Handler:
        return handlers.get(key) or Handler(_not_loaded, RetrySchedule(), timeout)

    return find


def function_handler(
    listener: Listener, timeout: float, find_step: FindStep, views: Views, make_state: MakeState | None = None
) -> Handler:
    """Return the handler of one function; the arguments are those of ``function_handlers``."""
    limit = listener.timeout or timeout
    if listener.immediate:
        make_state = None
    read = partial(event_of, find_step, views)

    def begin(due: Due) -> tuple[EventAttempt, float]:
        deadline = time.monotonic() + limit
        # The timeout of an async function leaves out the time for which others block the loop.
        until = math.inf if listener.is_async else deadline
        make_its_state = partial(make_state, listener.extension, due, until) if make_state else None
        return EventAttempt(due.number, make_its_state), deadline

    def event_in(attempt: EventAttempt, due: Due, deadline: float) -> Event:
        event = read(due, deadline)
        set_attempt(event, attempt)
        return event

    def end(attempt: EventAttempt) -> Outcome:
        changes = attempt.end()
        if changes or attempt.additions:
            return ChangedOutcome(
                "delivered", extension=listener.extension, changes=changes, additions=attempt.additions
            )
        return Outcome("delivered")

    def make(due: Due) -> Outcome:
        attempt, deadline = begin(due)
        try:
            listener.call(event_in(attempt, due, deadline))
        except BaseException as error:
            attempt.end()
            return _outcome_of(error, listener, due)
        return end(attempt)

    async def make_async(due: Due) -> Outcome:
        attempt, deadline = begin(due)
        try:
            await listener.call_async(event_in(attempt, due, deadline))
        except BaseException as error:  # CancelledError, too
            attempt.end()
            task = asyncio.current_task()
            if task is not None and task.cancelling():  # by the worker
                raise
            return _outcome_of(error, listener, due)
        return end(attempt)

    schedule = RetrySchedule() if listener.retry is None else RetrySchedule(listener.retry)
    return Handler(make, schedule, limit, make_async=make_async if listener.is_async else None)


def event_of(find_step: FindStep, views: Views, due: Due, deadline: float) -> Event:
    """Return the event of a delivery, as functions get it.

    Args:
        find_step: finds the step for ``event.step``.
        views: event classes of other protocols, by source.
        due: the delivery.
        deadline: the end of the attempt, a moment of ``time.monotonic``.
    """
    if due.source == STEADYBIT:
        return Event.from_body(due.body, deadline=deadline, find_step=find_step)
    return views.get(due.source, PublishedEvent).of(
        source=due.source,
        id=due.event_id,
        name=due.event_name,
        body=due.body,
        time=due.time,
        subject=due.subject,
        series=due.series,
        deadline=deadline,
    )


def listeners_by_key(listeners: Iterable[Listener]) -> dict[str, Listener]:
    """Return the listeners by every key that their deliveries may have in the tables, shortened as the tables have it.

    These are their current keys, and the keys of earlier releases unless several listeners shared one.
    """
    listeners = list(listeners)
    former: dict[str, list[Listener]] = {}
    for listener in listeners:
        for key in listener.former_keys:
            former.setdefault(bounded(key), []).append(listener)
    alone = {key: claimants[0] for key, claimants in former.items() if len(claimants) == 1}
    return alone | {bounded(listener.key): listener for listener in listeners}


def _outcome_of(error: BaseException, listener: Listener, due: Due) -> Outcome:
    """Return the outcome of an attempt in which the function raised."""
    if isinstance(error, GiveUp):
        return Outcome("refused", text_of(error))
    if isinstance(error, NotReady):
        return Outcome("not ready", text_of(error), retry_in=error.retry_in)
    if isinstance(error, RetryLater):
        return Outcome("failed", text_of(error), retry_in=error.seconds)
    # Once per delivery: the log lines of later attempts name the error, too.
    if due.number - due.uncounted_attempts == 1:
        logger.error("%s raised on %s %s", listener.name, due.event_name, due.event_id, exc_info=error)
    return Outcome("failed", f"{type(error).__name__}: {text_of(error)}")


def _not_loaded(due: Due) -> Outcome:
    return Outcome("failed", f"{due.listener} {NOT_LOADED}")
