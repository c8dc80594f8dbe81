"""HTTP/1.1 protocol that takes simple requests with events itself: without parsing them, and without ASGI.

ASGI's dictionaries, coroutines and messages cost more than validating and routing an event. A request is simple if its
head is known and its small body follows; every other request is parsed, and goes to the ASGI application, which has the
same answers.
"""

from typing import Any, cast

from extension_kit.events.answers import CLOSE, Answer
from extension_kit.server.answer_bytes import encode
from extension_kit.server.asgi import AsgiApplication
from extension_kit.server.event_requests import EventRequest, EventRequests
from extension_kit.server.http_protocol import LimitedHttpProtocol
from extension_kit.server.in_flight import SMALL
from extension_kit.server.known_heads import KnownHead

_END = b"\r\n\r\n"
_FRAMING = {b"transfer-encoding", b"upgrade", b"expect"}


class EventHttpProtocol(LimitedHttpProtocol):
    """A connection that passes simple requests with events on, and parses all others.

    Args:
        arguments: those of ``LimitedHttpProtocol``.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        app = self.config.loaded_app
        self._app = app if isinstance(app, AsgiApplication) else None
        self._request: EventRequest | None = None  # in progress
        self._ends_after_request = False
        self._begun = b""  # a request with a known head, and a part of its body
        self._head = b""  # of the request that is parsed

    def data_received(self, data: bytes) -> None:
        if self._app is None or not self._is_between_requests():
            super().data_received(data)
            return
        is_continued = bool(self._begun)
        if is_continued:
            data, self._begun = self._begun + data, b""
        if (end := data.find(_END)) > 0:
            head = data[:end]
            start = end + len(_END)
            if (found := self._app.event_requests.heads.find(head)) is not None:
                known, length = found
                missing = start + length - len(data)
                if length <= SMALL:
                    if missing == 0:
                        self._take(self._app.event_requests, known, data[start:])
                        return
                    if missing > 0 and not is_continued:
                        self._begun = data
                        self._reading_since = self._reading_since or self.loop.time()
                        return
            self._head = head
        super().data_received(data)

    def _is_between_requests(self) -> bool:
        return not (
            self._is_parsing
            or self._is_answering
            or self._stopping
            or self._discards_input
            or self._pipelined
            or self.flow.write_paused
        )

    def _take(self, requests: EventRequests, head: KnownHead, body: bytes) -> None:
        """Receive the event of a complete request."""
        self._is_answering = True
        self._reading_since = None
        self._request = request = EventRequest(requests, self, head, len(body))
        cast(set[EventRequest], self.tasks).add(request)
        requests.receive(request, body)

    def answer_event(self, request: EventRequest, answer: Answer, request_id: str) -> None:
        cast(set[EventRequest], self.tasks).discard(request)
        self._request = None
        self._is_answering = False
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        close = self._stopping or self._ends_after_request or CLOSE in answer.headers
        self._coalescing.write_at_once(encode(answer, request_id, self.server_state.default_headers, close=close))
        if close:
            self.transport.close()
            return
        self._idle_since = self.loop.time()
        if self._pipelined:
            self.loop.call_soon(self._resume_parsing)
        elif self.timeout_keep_alive_task is None:
            self._set_keep_alive_timer(self.timeout_keep_alive)

    def _set_keep_alive_timer(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        # Simple requests do not renew the timer: one for many of them is cheaper.
        self.timeout_keep_alive_task = None
        if self._request is not None or self._reading_since is not None or self._idle_since is None:
            return
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._set_keep_alive_timer(left)
        else:
            super().timeout_keep_alive_handler()

    def end_after_answer(self) -> None:
        if self._request is not None:
            self._ends_after_request = True
        else:
            super().end_after_answer()

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        head, self._head = self._head, b""
        if head and not self.parser.should_upgrade():
            self._learn(head)

    def _learn(self, head: bytes) -> None:
        """Remember the head of a request that is simple but for its head."""
        headers = dict(self.headers)
        is_simple = (
            self.scope["method"] == "POST"
            and self.scope["http_version"] == "1.1"
            and b"content-length" in headers
            and _FRAMING.isdisjoint(headers)
            and self.cycle.keep_alive
        )
        if is_simple and self._app is not None and (known := self._app.known_head(self.scope["path"], headers)):
            self._app.event_requests.heads.learn(head, known)

    def shutdown(self) -> None:
        if self._request is not None:
            self._stopping = True
            return
        if self._begun:
            data, self._begun = self._begun, b""
            super().data_received(data)
        super().shutdown()
