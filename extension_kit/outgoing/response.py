"""An HTTP answer as every client of ours takes it: its status line decides, whatever stands around it."""

import io
import re
from http.client import HTTPException, HTTPResponse
from typing import IO, Any

MAX_HEAD = 1024 * 1024
"""Bytes that the head of an answer may have, together with those of its interim answers."""

MAX_INTERIM = 20
"""How many interim answers may come before an answer."""

SWITCHED = 101  # no client of ours asks for another protocol
_MAX_LINE = 65536  # http.client's own limits
_MAX_FIELDS = 99

_status = re.compile(rb"HTTP/1\.\d +([1-9]\d\d)[ \r\n]").match
_field = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\r\n\0]*)\r?\n?").fullmatch
_FRAMING = {b"content-length": re.compile(rb"\d+").fullmatch, b"transfer-encoding": re.compile(rb"chunked").fullmatch}
_KEPT = {*_FRAMING, b"connection", b"keep-alive", b"content-type", b"content-encoding", b"etag", b"retry-after"}


class FinalResponse(HTTPResponse):
    """The final answer to a request: ``response_class`` of an ``HTTPConnection``.

    http.client skips 100 alone of the interim answers (RFC 9110, section 15.2), takes the next for the final one, and
    the final one for that of the next request. It also gives up an answer with many or long headers, whatever its
    status. Here every interim answer is skipped but 101, after which no HTTP follows; headers that are malformed, too
    long or too many are left out.

    ``is_odd`` says that there was any such thing, that the length of the body is unclear, or that more than the answer
    has come: the connection must not be used again, for what follows may not be the next request's answer.
    """

    def __init__(self, sock: Any, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        self._deadline = sock.deadline
        self.is_odd = False

    def begin(self) -> None:
        if self.headers is not None:
            return
        stream = self.fp
        try:
            self.fp = io.BytesIO(self._final_head(stream))
            super().begin()
        finally:
            self.fp = stream

    def read_beginning(self, limit: int) -> tuple[bytes, bool]:
        """The beginning of the body, and whether it was all of it; afterwards nothing more can be read.

        What has come when the time is up, or when the other end hangs up, is given.

        Args:
            limit: bytes to read at most.
        """
        parts: list[bytes] = []
        size, ended = 0, False
        try:
            while size < limit and (part := self.read1(limit - size)):
                parts.append(part)
                size += len(part)
            ended = self.isclosed() if self.length is None else self.length == 0
        except (OSError, HTTPException, ValueError):
            pass  # the status has been said
        self.close()
        return b"".join(parts), ended

    def _final_head(self, stream: IO[bytes]) -> bytes:
        room = MAX_HEAD
        for _ in range(MAX_INTERIM + 1):
            first = stream.readline(min(room, _MAX_LINE + 1))
            if not (found := _status(first)):
                return first  # http.client refuses it
            lines = []
            room -= len(first)
            while (line := stream.readline(room + 1)) not in (b"\r\n", b"\n", b""):
                room -= len(line)
                if room < 0:
                    raise HTTPException("the head of the answer is too long")
                lines.append(line)
            status = int(found[1])
            self.is_odd |= status < 200
            if status >= 200 or status == SWITCHED:
                return b"".join([first, *self._sound(lines), b"\r\n"])
        raise HTTPException("too many interim answers")

    def _sound(self, lines: list[bytes]) -> list[bytes]:
        """Leave out what http.client or the parser of e-mails that it uses would stumble over."""
        fields = [found for line in lines if len(line) <= _MAX_LINE and (found := _field(line))]
        framing = [found for found in fields if found[1].lower() in _FRAMING]
        self.is_odd |= (
            not len(lines) == len(fields) <= _MAX_FIELDS
            or len(framing) > 1
            or not all(_FRAMING[found[1].lower()](found[2].strip().lower()) for found in framing)
        )
        if len(fields) > _MAX_FIELDS:
            fields.sort(key=lambda found: found[1].lower() not in _KEPT)
        return [b"%b:%b\r\n" % found.groups() for found in fields[:_MAX_FIELDS]]

    def _close_conn(self) -> None:
        if isinstance(self.fp, io.BufferedReader) and not self.is_odd:
            self.is_odd = self._has_more(self.fp)
        super()._close_conn()  # type: ignore[misc]

    def _has_more(self, stream: io.BufferedReader) -> bool:
        """Whether bytes of something else have come together with the answer's last ones."""
        at, self._deadline.at = self._deadline.at, 0.0  # what has not come is not waited for
        try:
            return bool(stream.peek(1))
        except (OSError, ValueError):
            return False
        finally:
            self._deadline.at = at
