"""Event requests: simple requests with an event, received and answered without ASGI."""

import asyncio
import logging
import time
from functools import partial
from typing import Protocol

from extension_kit.events.answers import TIMEOUT, Answer, compressed
from extension_kit.events.pending import Pending
from extension_kit.events.request_headers import request_id
from extension_kit.observability import metrics
from extension_kit.observability.access_log import AccessLog
from extension_kit.runtime.service import Service
from extension_kit.server.answers_to_loop import AnswersToLoop
from extension_kit.server.known_heads import KnownHead, KnownHeads
from extension_kit.server.request_bodies import FAILED, STOPPING
from extension_kit.server.turn_tasks import TurnTasks

logger = logging.getLogger("extension_kit.web")

_SWEEP = 0.05  # seconds between two looks for requests that have waited too long; one timer each would cost more


class Connection(Protocol):
    """A connection that takes the answer of its request."""

    def answer_event(self, request: "EventRequest", answer: Answer, request_id: str) -> None:
        """Write the answer of its request in progress."""


class EventRequest:
    """One request with an event.

    It takes the place of a task of uvicorn, which waits for all tasks when it stops, and cancels them in the end.

    Args:
        requests: all of them.
        connection: takes the answer.
        head: of the request.
        size: of its body, in bytes.
    """

    __slots__ = ("_connection", "_requests", "deadline", "head", "size", "started")

    def __init__(self, requests: "EventRequests", connection: Connection, head: KnownHead, size: int) -> None:
        self._requests = requests
        self._connection: Connection | None = connection
        self.head = head
        self.size = size
        self.started = time.monotonic()
        self.deadline = self.started + (head.timeout or requests.timeout)

    def end(self, answer: Answer) -> None:
        """Answer the request, unless it has been answered. Call it in the loop's thread."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._requests.end(self, connection, answer)

    def cancel(self, msg: object = None) -> None:
        """Answer soon that the server stops."""
        asyncio.get_running_loop().call_soon(self.end, STOPPING)


class EventRequests:
    """Receives the events of simple requests.

    Args:
        service: its receiver takes the events.
        tasks: takes the functions to run.
        answers: brings answers of functions to the loop.
        access_log: takes a line for each request.
        loop: runs all requests.
    """

    def __init__(
        self,
        service: Service,
        tasks: TurnTasks,
        answers: AnswersToLoop,
        access_log: AccessLog,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._receive = service.receiver.receive
        self._start = tasks.submit
        self._answers = answers
        self._access_log = access_log
        self._loop = loop
        self._waiting: dict[EventRequest, None] = {}
        self._sweeps = False
        self.timeout = service.settings.request_timeout
        self.heads = KnownHeads()

    def receive(self, request: EventRequest, body: bytes) -> None:
        """Receive the event of a request, and answer it at once or later."""
        head = request.head
        try:
            outcome = self._receive(head.route, body, head.content_type, request.deadline, self._start)
        except Exception:
            logger.exception("POST %s failed", head.route.path)
            outcome = FAILED
        if not isinstance(outcome, Pending):
            request.end(outcome)
            return
        self._waiting[request] = None
        if request.deadline - request.started < 1:
            self._loop.call_later(request.deadline - request.started, request.end, TIMEOUT)
        elif not self._sweeps:
            self._sweeps = True
            self._loop.call_later(_SWEEP, self._sweep)
        outcome.when_ended(partial(self._answers.pass_on, request.end))

    def end(self, request: EventRequest, connection: Connection, answer: Answer) -> None:
        """Write the answer of a request, count it and log it; never raises, because other requests come after it."""
        self._waiting.pop(request, None)
        try:
            self._leave(request, connection, answer)
        except Exception:
            logger.exception("POST %s was answered, and left no trace", request.head.route.path)

    def _leave(self, request: EventRequest, connection: Connection, answer: Answer) -> None:
        head = request.head
        answer = compressed(answer, head.accept_encoding)
        id = request_id(head.request_id)
        connection.answer_event(request, answer, id)
        seconds = time.monotonic() - request.started
        metrics.answered(head.route.path, answer.status, seconds)
        self._access_log.write(
            "POST", head.route.path, answer.status, request.size, len(answer.body), seconds * 1000, id
        )

    def _sweep(self) -> None:
        """Answer the requests whose time ends before the next sweep."""
        until = time.monotonic() + _SWEEP
        for request in [request for request in self._waiting if request.deadline < until]:
            request.end(TIMEOUT)
        self._sweeps = bool(self._waiting)
        if self._sweeps:
            self._loop.call_later(_SWEEP, self._sweep)
