"""Traces of answered requests: the metrics and the access log of an application."""

import time

from extension_kit.observability import metrics
from extension_kit.observability.access_log import AccessLog


class Traces:
    """Counts and logs the requests of an application."""

    def __init__(self) -> None:
        self._access_log = AccessLog()

    def leave(
        self,
        name: str | None,
        method: str,
        path: str,
        status: int,
        *,
        received: int,
        sent: int,
        started: float,
        request_id: str,
    ) -> None:
        """Count and log a request that is about to be answered.

        Args:
            name: the name that it is counted under: the path of a listener, or method and path of a protocol's route.
                None: it is not counted.
            method: in upper case.
            path: without the query, which may hold secrets.
            status: of the answer.
            received: bytes of the request's body.
            sent: bytes of the answer's body.
            started: the time of its arrival, by ``time.perf_counter()``.
            request_id: the id of the request.
        """
        seconds = time.perf_counter() - started
        if name is not None:
            metrics.answered(name, status, seconds)
        self._access_log.write(method, path, status, received, sent, seconds * 1000, request_id)
