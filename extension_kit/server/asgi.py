"""ASGI edge: listener paths and grouped routes go straight to the core, every other path to the Flask application.

Per request, Flask and a WSGI server's threads cost tens of times as much as decoding and validating an event. An event
loop is not held up by slow clients either, and answers in time however long a function takes. User functions never run
on the loop.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from extension_kit.events.answers import (
    TIMEOUT,
    UNAUTHORIZED,
    Answer,
    method_not_allowed,
    problem,
    too_large,
)
from extension_kit.events.pending import Pending
from extension_kit.events.registry import Route
from extension_kit.events.request_headers import parse_timeout, request_id
from extension_kit.observability import metrics
from extension_kit.observability.access_log import AccessLog
from extension_kit.observability.tracing import as_trace_context
from extension_kit.runtime import gc_tuning
from extension_kit.runtime.service import Service
from extension_kit.server.answers_to_loop import AnswersToLoop
from extension_kit.server.child_process import shorter
from extension_kit.server.event_requests import EventRequests
from extension_kit.server.exchange import Exchange
from extension_kit.server.flask_requests import FlaskRequests
from extension_kit.server.grouped_requests import GroupedRequests
from extension_kit.server.known_heads import KnownHead
from extension_kit.server.request_bodies import (
    FAILED,
    HOLD,
    NO_ROOM,
    STOPPING,
    Application,
    DisconnectedError,
    NoRoomError,
    Receive,
    Scope,
    Send,
    send_answer,
)
from extension_kit.server.turn_tasks import TurnTasks
from extension_kit.web.app import create_app
from extension_kit.web.grouped_routes import grouped_routes

logger = logging.getLogger("extension_kit.web")

_FLASK_THREADS = 4  # registration and health requests: few, and short
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
        app = create_app(service, embed_worker=False)
        self._grouped_routes = grouped_routes(app)
        self._grouped_requests = GroupedRequests(service.pool.submit, self._max_body)
        self._credentials = service.credentials
        self._flask = FlaskRequests(app, threads, self._max_body)
        self._on_ready = on_ready
        self._access_log = AccessLog()
        self._timeout = service.settings.request_timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or handle the lifespan events of start and stop."""
        if scope["type"] == "http":
            path = scope["path"]
            try:
                if route := self._route(path):
                    await self._answer(route.path, partial(self._take_event, route), scope, receive, send)
                elif (
                    grouped := self._grouped_routes.get((scope["method"], path))
                ) and not self._grouped_requests.is_slow(grouped, scope):
                    take = partial(self._grouped_requests.answer, grouped)
                    await self._answer(grouped.route.name, take, scope, receive, send)
                else:
                    await self._flask(scope, receive, send)
            except DisconnectedError:
                return
            finally:
                if (hold := scope.get(HOLD)) is not None:
                    hold.release()
        elif scope["type"] == "lifespan":
            await self._run_lifespan(receive, send)

    def _route(self, path: str) -> Route | None:
        # Like Flask, take several leading slashes for one: proxies that cut off a prefix leave them.
        return self._routes.get(path) or self._routes.get("/" + path.lstrip("/"))

    def known_head(self, path: str, headers: Mapping[bytes, bytes]) -> KnownHead | None:
        """Return the head of a POST to a listener's path to be remembered; None if it is not to be answered as one.

        Args:
            path: decoded.
            headers: by name in lower case.
        """
        if (route := self._route(path)) is None:
            return None
        if self._service.receiver.takes_trace_contexts and b"traceparent" in headers:  # each is sent once
            return None
        if self._credentials is not None:
            authorization = headers.get(b"authorization", b"").decode("latin-1")
            if not self._credentials.admit(authorization):
                return None
        return KnownHead.of(route, headers)

    async def _run_lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        loop = asyncio.get_running_loop()
        self._answers = AnswersToLoop(loop)
        self._tasks = TurnTasks(self._service.pool, loop)
        self.event_requests = EventRequests(self._service, self._tasks, self._answers, self._access_log, loop)
        if self._service.runtime is not None:
            self._service.runtime.attach_loop(loop)
        self._sample(loop)
        gc_tuning.freeze()
        self._on_ready()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        # Every request has been answered by now; a function that still runs has exceeded its timeout.
        if not self._service.pool.close(timeout=1.0):
            logger.warning("Functions still running at shutdown are abandoned")
        if self._service.hooks.hooks:
            await asyncio.to_thread(self._service.hooks.stop, shorter(self._service.settings.grace_period))
        await send({"type": "lifespan.shutdown.complete"})

    def _sample(self, loop: asyncio.AbstractEventLoop) -> None:
        metrics.pool_waiting(self._service.pool.waiting)
        loop.call_later(_SAMPLE_INTERVAL, self._sample, loop)

    async def _answer(
        self, name: str, make: Callable[[Exchange], Awaitable[Answer]], scope: Scope, receive: Receive, send: Send
    ) -> None:
        exchange = Exchange(scope, receive)
        try:
            answer = await make(exchange)
        except DisconnectedError:
            return
        except NoRoomError:
            answer = NO_ROOM
        except asyncio.CancelledError:  # at the end of the grace period
            answer = STOPPING
        except Exception:
            logger.exception("%s %s failed", scope["method"], scope["path"])
            answer = FAILED
        await exchange.end(answer, name, send, self._access_log)

    async def _take_event(self, route: Route, exchange: Exchange) -> Answer:
        if exchange.scope["method"] != "POST":
            return _NOT_POST
        if self._credentials is not None and not self._credentials.admit(exchange.header(b"authorization")):
            return UNAUTHORIZED
        if not await exchange.read(self._max_body):
            return too_large(self._max_body)
        return await self._receive(route, exchange)

    async def _receive(self, route: Route, exchange: Exchange) -> Answer:
        given = exchange.header(b"request-timeout") or exchange.header(b"x-request-timeout")
        timeout = (parse_timeout(given) if given else None) or self._timeout
        receiver = self._service.receiver
        outcome = receiver.receive(
            route,
            exchange.body,
            exchange.header(b"content-type"),
            time.monotonic() + timeout,
            self._tasks.submit,
            _trace_context(exchange) if receiver.takes_trace_contexts else "",
        )
        if not isinstance(outcome, Pending):
            return outcome
        answer = await self._answers.wait(outcome, timeout)
        if answer is TIMEOUT and (hold := exchange.keep_room()) is not None:
            outcome.when_ended(lambda _: hold.release())  # the function still uses the body
        return answer


def _trace_context(exchange: Exchange) -> str:
    return as_trace_context(exchange.header(b"traceparent"), exchange.header(b"tracestate"))


def failed_to_load(reason: str) -> Application:
    """Make an application that answers every request with the reason why the extension cannot be loaded."""
    answer = problem(500, "The extension cannot be loaded", reason)

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await send_answer(answer, request_id(""), send)
            return
        for _ in range(2):  # starting and stopping
            await send({"type": f"{(await receive())['type']}.complete"})

    return application
