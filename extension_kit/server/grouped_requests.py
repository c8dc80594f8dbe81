"""Requests of grouped routes on the event loop: parsed, queued for their commit, and answered without Flask."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from extension_kit.errors import StoreUnavailable
from extension_kit.events.answers import Answer
from extension_kit.observability import tracing
from extension_kit.observability.request_spans import request_span
from extension_kit.runtime.grouped_routes import ReceivedRequest
from extension_kit.server.answers_to_loop import settle
from extension_kit.server.exchange import Exchange
from extension_kit.server.in_flight import SMALL
from extension_kit.server.request_bodies import Scope
from extension_kit.web.grouped_routes import MountedRoute
from extension_kit.web.peer_certificate import PEER_CERTIFICATE, add_peer_certificate

logger = logging.getLogger("extension_kit.web")

_LATE = object()

Submit = Callable[[Callable[[], None]], bool]


class GroupedRequests:
    """Answers requests of grouped routes.

    Args:
        submit: runs a function on a thread; returns False if there is no capacity.
        limit: maximum bytes of a body.
    """

    def __init__(self, submit: Submit, limit: int) -> None:
        self._submit = submit
        self._limit = limit

    def is_slow(self, mounted: MountedRoute, scope: Scope) -> bool:
        """Return True if a request may hold up the loop, so that Flask has to answer it."""
        is_slow = mounted.route.is_slow
        return is_slow is not None and is_slow(_received_request(scope, b""))

    async def answer(self, mounted: MountedRoute, exchange: Exchange) -> Answer:
        """Answer a request.

        Raises:
            DisconnectedError: the client left before its request was complete.
            NoRoomError: its body does not fit beside others.
        """
        if tracing.spans is None:
            return await self._answer(mounted, exchange)
        traceparent, tracestate = exchange.header(b"traceparent"), exchange.header(b"tracestate")
        with request_span(mounted.route.method, mounted.route.path, traceparent, tracestate) as span:
            answer = await self._answer(mounted, exchange)
            span.status = answer.status
            return answer

    async def _answer(self, mounted: MountedRoute, exchange: Exchange) -> Answer:
        is_complete = await exchange.read(self._limit)
        received = _received_request(exchange.scope, exchange.body)
        if not is_complete:
            return mounted.answer_too_large(received)
        try:
            parse = partial(mounted.route.parse, received)
            item = parse() if len(exchange.body) <= SMALL else await self._on_a_thread(parse)
            answer = item if isinstance(item, Answer) else await _committed(mounted, item, exchange)
        except Exception as error:
            return mounted.answer_error(received, error)
        return answer if isinstance(answer, Answer) else mounted.answer_error(received, answer)

    async def _on_a_thread(self, function: Callable[[], Any]) -> Any:
        """Run a function on a thread, because it may take longer than the loop may be held up."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()

        def run() -> None:
            try:
                end = partial(settle, future, function())
            except Exception as error:
                end = partial(_fail, future, error)
            try:
                loop.call_soon_threadsafe(end)
            except RuntimeError:
                logger.debug("Request parsed after the server had stopped")

        if not self._submit(run):
            raise StoreUnavailable("Too many requests wait for a thread", 1.0)
        return await future


async def _committed(mounted: MountedRoute, item: Any, exchange: Exchange) -> Answer | Exception:
    """Wait for the commit of an item, and return its answer."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()
    kept: list[Any] = []

    def tell(answer: Answer | Exception) -> None:
        settle(future, answer)
        for hold in kept:
            hold.release()

    mounted.add(item, tell)
    timer = loop.call_later(mounted.timeout, settle, future, _LATE)
    try:
        answer: Answer | Exception = await future
    finally:
        timer.cancel()
    if answer is _LATE:
        kept += filter(None, [exchange.keep_room()])  # the item still waits
        return mounted.too_late()
    return answer


def _received_request(scope: Scope, body: bytes) -> ReceivedRequest:
    """Return a request as Flask would have it: of a repeated header all values, and no underscores in names."""
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1").replace("_", "-"), value.decode("latin-1")
        headers[key] = f"{headers[key]},{text}" if key in headers else text
    if headers.pop("transfer-encoding", None) is not None:
        headers["content-length"] = f"{len(body)}"
    connection: dict[str, Any] = {"REMOTE_ADDR": client[0]} if (client := scope.get("client")) else {}
    if PEER_CERTIFICATE in scope.get("state", ()):
        add_peer_certificate(connection := {**connection, "asgi.scope": scope})
    trace_context = tracing.current_trace_context() or ""
    return ReceivedRequest(
        scope["method"], scope["path"], scope["query_string"], headers, body, connection, trace_context
    )


def _fail(future: "asyncio.Future[Any]", error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
