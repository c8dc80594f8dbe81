"""Function handlers: how deliveries to decorated functions are made."""

import logging
import time
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from sqlalchemy import Connection

from extension_kit.deliveries.handler import Due, FindHandler, Handler
from extension_kit.deliveries.retry import RetrySchedule
from extension_kit.deliveries.tables import bounded
from extension_kit.errors import GiveUp, RetryLater
from extension_kit.events.event import STEADYBIT, Event, FindStep
from extension_kit.events.pending import text_of
from extension_kit.events.published import PublishedEvent
from extension_kit.events.registry import Listener
from extension_kit.senders import Outcome

logger = logging.getLogger("extension_kit.events")

NOT_LOADED = "is not loaded in this worker"
"""End of the error of a delivery to a function that is not loaded in the worker."""

Views = Mapping[str, type[PublishedEvent]]
"""Event class that functions are called with, by source, except for Steadybit's."""


def function_handlers(
    listeners: Iterable[Listener], timeout: float, find_step: FindStep, views: Views = MappingProxyType({})
) -> FindHandler:
    """Return a function that finds the handler of a decorated function by its listener key.

    A function that is not loaded here may be in the next version or in another process, so its deliveries are kept and
    tried again like those of one that fails.

    Args:
        listeners: the functions.
        timeout: seconds a function may take, where it has no limit of its own.
        find_step: finds the step for ``event.step``.
        views: event classes of other protocols, by source.
    """
    by_key = listeners_by_key(listeners)
    handlers = {key: function_handler(listener, timeout, find_step, views) for key, listener in by_key.items()}

    def find(key: str, connection: Connection) -> Handler:
        return handlers.get(key) or Handler(_not_loaded, RetrySchedule(), timeout)

    return find


def function_handler(listener: Listener, timeout: float, find_step: FindStep, views: Views) -> Handler:
    """Return the handler of one function; the arguments are those of ``function_handlers``."""
    limit = listener.timeout or timeout

    def read(due: Due, deadline: float) -> Event:
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

    def make(due: Due) -> Outcome:
        try:
            listener.call(read(due, time.monotonic() + limit))
        except GiveUp as error:
            return Outcome("refused", text_of(error))
        except RetryLater as error:
            return Outcome("failed", text_of(error), retry_in=error.seconds)
        except BaseException as error:
            # Once per delivery: the log lines of later attempts name the error, too.
            if due.number - due.uncounted_attempts == 1:
                logger.exception("%s raised on %s %s", listener.name, due.event_name, due.event_id)
            return Outcome("failed", f"{type(error).__name__}: {text_of(error)}")
        return Outcome("delivered")

    schedule = RetrySchedule() if listener.retry is None else RetrySchedule(listener.retry)
    return Handler(make, schedule, limit)


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


def _not_loaded(due: Due) -> Outcome:
    return Outcome("failed", f"{due.listener} {NOT_LOADED}")
