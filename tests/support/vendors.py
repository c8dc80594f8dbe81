"""Doubles of vendors' HTTP APIs: real servers that keep their data while they stop and start, and lose answers."""

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.receivers import Receiver, Request, reply


class Vendor:
    """A server at a port of its own. Subclasses answer requests in ``handle``, one at a time.

    Attributes:
        requests: method and path of all requests, also of those that were refused.
        before: is asked before a request is handled: an answer of its own instead, or None.
        loses_answer: is asked after a request was handled: True hangs up without an answer.
        on_change: is told of each change.
    """

    def __init__(self) -> None:
        self.requests: list[tuple[str, str]] = []
        self.before: Callable[[Request], object] = lambda request: None
        self.loses_answer: Callable[[Request], bool] = lambda request: False
        self.on_change: Callable[[object], None] = lambda change: None
        self.lock = threading.Lock()
        self._receiver: Receiver | None = None
        self._port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self, port: int = 0) -> None:
        """Listen, at the port of the last time if there was one."""
        self._receiver = Receiver(answer=self._answer, port=port or self._port)
        self._port = self._receiver.port

    def stop(self) -> None:
        """Close the port and all connections."""
        if self._receiver is not None:
            self._receiver.server.close()
            self._receiver = None

    def handle(self, request: Request) -> bytes:
        raise NotImplementedError

    def demonstrate(self, name: str, place: Path) -> None:
        """Serve until the process that started this one ends; write the URL to a file, and print each change."""
        self.on_change = lambda change: print(f"{name}: {json.dumps(change)}", flush=True)
        self.start()
        place.write_text(self.url)
        parent = os.getppid()
        while os.getppid() == parent:
            time.sleep(0.2)

    def _answer(self, request: Request):
        with self.lock:
            self.requests.append((request.method, request.path))
            if (instead := self.before(request)) is not None:
                return instead
            answer = self.handle(request)
            lost = self.loses_answer(request)
        return hang_up if lost else answer


def hang_up(connection) -> None:
    """Say nothing: the connection is closed afterwards."""


def json_reply(status: int, content: object, **headers: object) -> bytes:
    return reply(status, json.dumps(content).encode(), Content_Type="application/json", **headers)
