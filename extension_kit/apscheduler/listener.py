"""The listener that a scheduler calls."""

import json
import logging
import time
from typing import Any

from apscheduler.events import EVENT_ALL, EVENT_JOB_ADDED

from extension_kit.apscheduler.background import BackgroundSender
from extension_kit.apscheduler.connection import Connection
from extension_kit.apscheduler.payloads import DESCRIBED, MIN_TEXT_BYTES, payloads
from extension_kit.errors import ConfigurationError

logger = logging.getLogger("extension_kit.apscheduler")


class CronEyeListener:
    """Tells a CronEye server what an APScheduler scheduler and its jobs do.

    ::

        listener = CronEyeListener("http://croneye:8080", token, "billing")
        listener.attach(scheduler)
        scheduler.start()

    ``scheduler.add_listener(listener)`` does, too, but jobs then have their ids for names, and no next run.

    A thread sends the events, one after the other and in order: the scheduler never waits for the server, and nothing
    that the server, the network or a job's result does breaks it. While the server is away, events wait in memory.
    What waits when the process ends has ``exit_timeout`` seconds, unless a signal ends it; multiprocessing's processes
    have to call ``flush`` themselves. After a fork, each process sends its own events.

    Events go through the proxy that HTTP_PROXY, HTTPS_PROXY or ALL_PROXY name, unless NO_PROXY names the server.

    CronEye takes the name of a job's store for that of its scheduler. APScheduler gives a scheduler no name, and calls
    most stores "default", so ``scheduler_name`` is sent for both.

    Args:
        url: where CronEye's ``/event`` is, without it: ``http://croneye:8080`` for extension-kit's,
            ``http://host/croneye/api/listener`` for upstream's.
        token: one of the server's.
        scheduler_name: what CronEye is to call the scheduler: another one for each.
        queue_size: how many events wait at most; further ones are dropped.
        timeout: seconds for an attempt.
        ca_file: PEM file with the authorities to trust instead of the system's, for https.
        max_text_bytes: what of a return value, an exception or a traceback is sent at most, as UTF-8.
        first_retry: seconds to the second attempt; each further wait is twice as long.
        longest_retry: seconds of the longest wait, unless the server asks for a longer one.
        give_up_after: seconds after which an event is given up that the server fails to store (500).
        exit_timeout: seconds for which the end of the process waits for events that are not sent yet.

    Raises:
        ConfigurationError: one of them cannot be used; the message does not repeat the token.
    """

    def __init__(
        self,
        url: str,
        token: str,
        scheduler_name: str,
        *,
        queue_size: int = 10_000,
        timeout: float = 10.0,
        ca_file: str | None = None,
        max_text_bytes: int = 8192,
        first_retry: float = 0.5,
        longest_retry: float = 30.0,
        give_up_after: float = 600.0,
        exit_timeout: float = 5.0,
    ) -> None:
        if not (scheduler_name or "").strip() or not scheduler_name.isprintable():
            raise ConfigurationError(f"scheduler_name is {scheduler_name!r:.80}: it has to be a printable name")
        least = {
            "queue_size": (queue_size, 1),
            "timeout": (timeout, 0.001),
            "max_text_bytes": (max_text_bytes, MIN_TEXT_BYTES),
            "first_retry": (first_retry, 0.001),
            "longest_retry": (longest_retry, first_retry),
            "give_up_after": (give_up_after, 0),
            "exit_timeout": (exit_timeout, 0),
        }
        for name, (value, minimum) in least.items():
            if not value >= minimum:
                raise ConfigurationError(f"{name} is {value!r:.80}: it has to be {minimum} at least")
        connection = Connection(url, token, timeout=timeout, ca_file=ca_file)
        self._url = connection.url
        self._scheduler_name = scheduler_name
        self._max_text_bytes = max_text_bytes
        self._scheduler: Any = None
        self._sender = BackgroundSender(
            connection,
            queue_size=queue_size,
            first_retry=first_retry,
            longest_retry=longest_retry,
            give_up_after=give_up_after,
            exit_timeout=exit_timeout,
        )

    def __repr__(self) -> str:
        return f"<CronEyeListener for {self._scheduler_name!r} at {self._url}>"

    def attach(self, scheduler: Any) -> None:
        """Listen to all events of a scheduler, best before it starts: what was before is not told.

        A job is looked up in its store when it is added, modified or submitted, for its name and its next run.

        Args:
            scheduler: any of APScheduler 3.

        Raises:
            ConfigurationError: this listener is attached already; each scheduler needs one of its own.
        """
        if self._scheduler is not None:
            raise ConfigurationError(f"{self!r} is attached to a scheduler: make another for another scheduler")
        self._scheduler = scheduler
        scheduler.add_listener(self, EVENT_ALL)

    def __call__(self, event: Any) -> None:
        """Take an event of the scheduler; never waits for the server, never raises."""
        try:
            moment = time.time_ns() // 1_000_000
            job = self._find_job(event) if event.code & DESCRIBED else None
            for payload in payloads(event, self._scheduler_name, moment, job, self._max_text_bytes):
                self._sender.put(json.dumps(payload).encode())
        except Exception:
            logger.exception("An event is not sent to %s", self._url)

    @property
    def waiting(self) -> int:
        """How many events are not sent yet."""
        return self._sender.waiting

    @property
    def dropped(self) -> int:
        """How many events were dropped by this process, because too many waited, or after ``close``."""
        return self._sender.dropped

    @property
    def refused(self) -> int:
        """How many events of this process the server has refused."""
        return self._sender.refused

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait until the events so far are sent, or refused; an event that waits for its next attempt is tried at once.

        Args:
            timeout: seconds to wait at most.

        Returns:
            Whether they are.
        """
        return self._sender.flush(timeout)

    def close(self, timeout: float = 10.0) -> bool:
        """Take no more events, send those that wait, and drop what is left when the time is over.

        Args:
            timeout: seconds to wait at most.

        Returns:
            Whether nothing was left.
        """
        return self._sender.close(timeout)

    def _find_job(self, event: Any) -> Any:
        # A scheduler that shuts down holds the lock of its job stores while it waits for jobs, and so would wait for
        # one that waits for that lock here. What adds a job holds the lock itself.
        scheduler = self._scheduler
        if scheduler is None or not (scheduler.running or event.code == EVENT_JOB_ADDED):
            return None
        try:
            return scheduler.get_job(event.job_id, event.jobstore)
        except Exception as error:
            logger.debug("The job of an event is not known: %r", error)
            return None
