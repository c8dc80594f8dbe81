"""CronEye listener: passes the events of a scheduler to the background sender, without delaying the scheduler."""

import json
import logging
import time
from typing import Any

from apscheduler.events import EVENT_ALL, EVENT_JOB_ADDED

from extension_kit.apscheduler.background import BackgroundSender
from extension_kit.apscheduler.connection import Connection
from extension_kit.apscheduler.payloads import JOB_DETAIL_EVENTS, MIN_TEXT_BYTES, payloads
from extension_kit.errors import ConfigurationError

logger = logging.getLogger("extension_kit.apscheduler")


class CronEyeListener:
    """Sends the events of an APScheduler scheduler and its jobs to a CronEye server.

    ::

        listener = CronEyeListener("http://croneye:8080", token, "billing")
        listener.attach(scheduler)
        scheduler.start()

    ``scheduler.add_listener(listener)`` works, too, but jobs then have their ids as names, and no next run.

    A thread sends the events, one after the other and in order: the scheduler never waits for the server, and no
    failure of the server or the network disturbs it. While the server is unavailable, events wait in memory. At the end
    of the process, waiting events are sent for ``exit_timeout`` seconds, unless a signal ends it; processes of
    multiprocessing have to call ``flush`` themselves. After a fork, each process sends its own events.

    The proxy of HTTP_PROXY, HTTPS_PROXY or ALL_PROXY is used, unless NO_PROXY names the server.

    CronEye identifies the scheduler of a job by the name of the job store. APScheduler's schedulers have no names, and
    most of its stores are called "default", so ``scheduler_name`` is sent as the name of both.

    Args:
        url: URL of CronEye's API, without ``/event``: ``http://croneye:8080`` for extension-kit's server,
            ``http://host/croneye/api/listener`` for upstream's.
        token: one of the server's tokens.
        scheduler_name: the name of the scheduler in CronEye, different for each scheduler.
        queue_size: maximum number of waiting events; further ones are dropped.
        queue_bytes: maximum bytes of waiting events, in the memory of the service; further ones are dropped.
        timeout: seconds for an attempt.
        ca_file: PEM file with CA certificates to trust instead of the system's, for https.
        max_text_bytes: maximum bytes, as UTF-8, of a return value, an exception and a traceback.
        first_retry: seconds to the second attempt; each further wait is twice as long.
        longest_retry: maximum seconds of a wait, unless the server asks for a longer one.
        give_up_after: seconds after which an event is given up that the server answers with an error such as 500.
        exit_timeout: seconds for which the end of the process waits for events.

    Raises:
        ConfigurationError: an argument cannot be used; the message does not repeat the token.
    """

    def __init__(
        self,
        url: str,
        token: str,
        scheduler_name: str,
        *,
        queue_size: int = 10_000,
        queue_bytes: int = 16 * 1024**2,
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
            "queue_bytes": (queue_bytes, 1),
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
            queue_bytes=queue_bytes,
            first_retry=first_retry,
            longest_retry=longest_retry,
            give_up_after=give_up_after,
            exit_timeout=exit_timeout,
        )

    def __repr__(self) -> str:
        return f"<CronEyeListener for {self._scheduler_name!r} at {self._url}>"

    def attach(self, scheduler: Any) -> None:
        """Listen to all events of a scheduler. Call it before the scheduler starts: earlier events are not sent.

        A job is looked up in its store when it is added, modified or submitted, for its name and its next run.

        Args:
            scheduler: a scheduler of APScheduler 3.

        Raises:
            ConfigurationError: this listener is attached already; each scheduler needs its own.
        """
        if self._scheduler is not None:
            raise ConfigurationError(f"{self!r} is attached to a scheduler: make another for another scheduler")
        self._scheduler = scheduler
        scheduler.add_listener(self, EVENT_ALL)

    def __call__(self, event: Any) -> None:
        """Queue an event of the scheduler; never waits for the server, never raises."""
        try:
            time_ms = time.time_ns() // 1_000_000
            job = self._find_job(event) if event.code & JOB_DETAIL_EVENTS else None
            for payload in payloads(event, self._scheduler_name, time_ms, job, self._max_text_bytes):
                self._sender.put(json.dumps(payload).encode())
        except Exception:
            logger.exception("Cannot send an event to %s", self._url)

    @property
    def waiting(self) -> int:
        """Number of events that are not sent yet."""
        return self._sender.waiting

    @property
    def dropped(self) -> int:
        """Number of events that this process dropped, because the queue was full or after ``close``."""
        return self._sender.dropped

    @property
    def refused(self) -> int:
        """Number of events of this process that the server refused."""
        return self._sender.refused

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait for all events so far. An event that waits for its next attempt is retried at once.

        Args:
            timeout: maximum seconds to wait.

        Returns:
            True if they were sent, refused or dropped in time.
        """
        return self._sender.flush(timeout)

    def close(self, timeout: float = 10.0) -> bool:
        """Accept no more events, send those that wait, and drop the rest.

        Args:
            timeout: maximum seconds to wait.

        Returns:
            True if no event was dropped.
        """
        return self._sender.close(timeout)

    def _find_job(self, event: Any) -> Any:
        # A scheduler that shuts down holds the lock of its job stores while it waits for jobs: a job that waited for
        # the lock here would never end. A thread that adds a job holds the lock itself.
        scheduler = self._scheduler
        if scheduler is None or not (scheduler.running or event.code == EVENT_JOB_ADDED):
            return None
        try:
            return scheduler.get_job(event.job_id, event.jobstore)
        except Exception as error:
            logger.debug("Cannot look up the job of an event: %r", error)
            return None
