"""Access log: one line per request, with the fields of Steadybit's extension-kit."""

import logging
import time

from extension_kit.observability.logs import LineHandler

_FIELDS = ("method", "url", "res_size", "req_size", "duration", "status", "req_id")
_URL_CHARACTERS = 2000


class AccessLog:
    """Writes access log lines: GET at level debug, other methods at info."""

    def __init__(self) -> None:
        self._logger = logging.getLogger("extension_kit.access")
        self._parent = logging.getLogger("extension_kit")

    def write(
        self,
        method: str,
        url: str,
        status: int,
        request_size: int,
        response_size: int,
        duration_ms: float,
        request_id: str,
    ) -> None:
        """Log one request. Sizes are in bytes, the duration in milliseconds."""
        level = logging.DEBUG if method == "GET" else logging.INFO
        if not self._logger.isEnabledFor(level):
            return
        if len(url) > _URL_CHARACTERS:
            url = url[:_URL_CHARACTERS] + "..."
        duration = round(duration_ms, 3)
        if handler := self._only_handler():
            lines = handler.lines
            handler.write(
                lines.template(level, *_FIELDS)
                % (
                    lines.time(time.time()),
                    lines.message(""),
                    lines.string(method),
                    lines.string(url),
                    response_size,
                    request_size,
                    duration,
                    status,
                    lines.string(request_id),
                )
            )
        else:
            values = (method, url, response_size, request_size, duration, status, request_id)
            self._logger.log(level, "", extra={"fields": dict(zip(_FIELDS, values, strict=True))})

    def _only_handler(self) -> LineHandler | None:
        """Return the handler of ``configure`` if it is the only one: writing without a record is much faster."""
        access, kit, handlers = self._logger, self._parent, self._logger.root.handlers
        if access.handlers or access.filters or kit.handlers or not access.propagate or not kit.propagate:
            return None
        if len(handlers) != 1 or not isinstance(handlers[0], LineHandler) or handlers[0].filters:
            return None
        return handlers[0]
