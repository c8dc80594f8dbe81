"""ASGI edge: listener paths go straight to the core, every other path to the Flask application.

Per request, Flask and a WSGI server's threads cost tens of times as much as decoding and validating an event. An event
loop is not held up by slow clients either, and answers in time however long a function takes. User functions never run
on the loop.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from a2wsgi import WSGIMiddleware

from extension_kit.events.answers import (
    TIMEOUT,
    UNAUTHORIZED,
    Answer,
    compressed,
    method_not_allowed,
    problem,
    too_large,
)
from extension_kit.events.receive import Pending, parse_timeout, request_id
from extension_kit.events.registry import Route
from extension_kit.observability import metrics
from extension_kit.observability.access_log import AccessLog
from extension_kit.runtime import gc_tuning as garbage
from extension_kit.runtime.service import Service
from extension_kit.server.request_bodies import (
    HOLD,
    NO_ROOM,
    STOPPING,
    Application,
    Buffered,
    DisconnectedError,
    Message,
    NoRoomError,
    Receive,
    Scope,
    Send,
    handed_off,
    read,
    send_answer,
)
from extension_kit.web.app import create_app

logger = logging.getLogger("extension_kit.web")

_FLASK_THREADS = 4  # registration and health requests: few, and short
_PIECE, _PIECES = 1024**2, 3  # bytes of a piece of a streamed answer, and pieces queued for a client
_SAMPLE_INTERVAL = 1.0  # seconds between samples of the events that wait for a thread
_NOT_POST = method_not_allowed("POST")


class AsgiApplication:
    """ASGI application for one service.

    Args:
        service: the service.
        on_ready: called when the process can take requests.
    """

    def __init__(self, service: Service, on_ready: Callable[[], None] = lambda: None) -> None:
        self._service = service
        self._routes = service.receiver.routes
        threads = service.settings.web_threads if service.protocols else _FLASK_THREADS
        self._max_body = service.settings.max_body_bytes
        flask = handed_off(create_app(service, embed_worker=False), _PIECE)
        # Both sides are typed, each with its own names for the same dictionaries.
        middleware = WSGIMiddleware(cast(Any, flask), workers=threads, send_queue_size=_PIECES)
        self._flask = Buffered(cast(Application, middleware), self._max_body)
        self._on_ready = on_ready
        self._access_log = AccessLog()
        self._timeout = service.settings.request_timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or handle the lifespan events of start and stop."""
        if scope["type"] == "http":
            path = scope["path"]
            # Like Flask, take several leading slashes for one: proxies that cut off a prefix leave them.
            try:
                if (route := self._routes.get(path) or self._routes.get("/" + path.lstrip("/"))) is None:
                    await self._answer_by_flask(scope, receive, send)
                else:
                    await self._answer(route, scope, receive, send)
            except DisconnectedError:
                return
            finally:
                if (hold := scope.get(HOLD)) is not None:
                    hold.release()
        elif scope["type"] == "lifespan":
            await self._live(receive, send)

    async def _answer_by_flask(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._flask(scope, receive, noted)
        except NoRoomError:
            answer = NO_ROOM
        except asyncio.CancelledError:  # at the end of the grace period
            if started:
                raise
            answer = STOPPING
        else:
            return
        headers = dict(scope["headers"])
        await send_answer(answer, request_id(headers.get(b"request-id", b"").decode("latin-1")), send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        loop = asyncio.get_running_loop()
        self._ended = _Ended(loop)
        if self._service.durability is not None:
            self._service.durability.recorder.serve(loop)
        self._sample(loop)
        garbage.spare_what_is_there()
        self._on_ready()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        # Every request has been answered by now; a function that still runs has exceeded its timeout.
        if not self._service.pool.close(timeout=1.0):
            logger.warning("Functions still running at shutdown are abandoned")
        await send({"type": "lifespan.shutdown.complete"})

    def _sample(self, loop: asyncio.AbstractEventLoop) -> None:
        metrics.pool_waiting(self._service.pool.waiting)
        loop.call_later(_SAMPLE_INTERVAL, self._sample, loop)

    async def _answer(self, route: Route, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        headers = dict(scope["headers"])
        body = b""
        try:
            if scope["method"] != "POST":
                answer = _NOT_POST
            elif not self._admits(headers):
                answer = UNAUTHORIZED
            elif (
                complete := await read(
                    scope.get(HOLD), int(headers.get(b"content-length", b"0")), receive, self._max_body
                )
            ) is None:
                answer = too_large(self._max_body)
            else:
                body = complete
                answer = await self._receive(route, scope, headers, body)
        except DisconnectedError:
            return
        except NoRoomError:
            answer = NO_ROOM
        except asyncio.CancelledError:  # at the end of the grace period
            answer = STOPPING
        except Exception:
            logger.exception("POST %s failed", route.path)
            answer = problem(500, "Internal Server Error", "The log of the extension says what went wrong.")
        answer = compressed(answer, headers.get(b"accept-encoding", b"").decode("latin-1"))
        name = request_id(headers.get(b"request-id", b"").decode("latin-1"))
        metrics.answered(route.path, answer.status, time.perf_counter() - started)
        await send_answer(answer, name, send)
        self._access_log.write(
            scope["method"],
            route.path,
            answer.status,
            len(body),
            len(answer.body),
            (time.perf_counter() - started) * 1000,
            name,
        )

    def _admits(self, headers: dict[bytes, bytes]) -> bool:
        credentials = self._service.credentials
        return credentials is None or credentials.admit(headers.get(b"authorization", b"").decode("latin-1"))

    async def _receive(self, route: Route, scope: Scope, headers: dict[bytes, bytes], body: bytes) -> Answer:
        given = headers.get(b"request-timeout") or headers.get(b"x-request-timeout")
        timeout = (parse_timeout(given.decode("latin-1")) if given else None) or self._timeout
        outcome = self._service.receiver.receive(
            route,
            body,
            headers.get(b"content-type", b"").decode("latin-1"),
            time.monotonic() + timeout,
            self._service.pool.submit,
        )
        if not isinstance(outcome, Pending):
            return outcome
        answer = await self._ended.wait(outcome, timeout)
        if answer is TIMEOUT and (hold := scope.pop(HOLD, None)) is not None:
            outcome.when_ended(lambda _: hold.release())  # the function still uses the body
        return answer


def unloaded(reason: str) -> Application:
    """Make an application that answers every request with the reason why the extension cannot be loaded."""
    answer = problem(500, "The extension cannot be loaded", reason)

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await send_answer(answer, request_id(""), send)
            return
        for _ in range(2):  # starting and stopping
            await send({"type": f"{(await receive())['type']}.complete"})

    return application


class _Ended:
    """Passes answers from function threads to the event loop, waking it once for many of them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread = threading.get_ident()
        self._answers: deque[tuple[asyncio.Future[Answer], Answer]] = deque()
        self._woken = False

    async def wait(self, pending: Pending, timeout: float) -> Answer:
        """Wait at most ``timeout`` seconds for an answer; then return ``TIMEOUT``."""
        future: asyncio.Future[Answer] = self._loop.create_future()
        timer = self._loop.call_later(timeout, _settle, future, TIMEOUT)
        pending.when_ended(lambda answer: self._bring(future, answer))
        try:
            return await future
        finally:
            timer.cancel()

    def _bring(self, future: asyncio.Future[Answer], answer: Answer) -> None:
        if threading.get_ident() == self._thread:
            _settle(future, answer)
            return
        self._answers.append((future, answer))
        if not self._woken:
            self._woken = True
            try:
                self._loop.call_soon_threadsafe(self._hand_over)
            except RuntimeError:
                logger.debug("Function returned after the server had stopped")

    def _hand_over(self) -> None:
        self._woken = False  # before the queue is emptied: a later answer wakes the loop again
        while self._answers:
            _settle(*self._answers.popleft())


def _settle(future: asyncio.Future[Answer], answer: Answer) -> None:
    if not future.done():
        future.set_result(answer)
