"""Traces of answered requests: the metrics and the access log of an application."""

import time

from flask import Response, g, request

from extension_kit.observability import metrics
from extension_kit.observability.access_log import AccessLog
from extension_kit.web.responses import compress


class Traces:
    """Counts and logs the requests of an application."""

    def __init__(self) -> None:
        self._access_log = AccessLog()

    def finish(self, response: Response, name: str | None = None) -> Response:
        """Make the answer to the present request of Flask ready, and count and log it.

        Args:
            response: is compressed, and gets ``g.request_id``; ``g.started`` is the time of the request's arrival.
            name: as for ``leave``.
        """
        compress(response, request.headers.get("Accept-Encoding", ""))
        response.headers["Request-Id"] = g.request_id
        self.leave(
            name,
            request.method,
            request.path,
            response.status_code,
            received=request.content_length or 0,
            sent=response.calculate_content_length() or 0,
            started=g.started,
            request_id=g.request_id,
        )
        return response

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
