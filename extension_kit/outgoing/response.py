"""HTTP answers: reads the final answer to a request, tolerating interim answers and malformed headers."""

import io
import re
from http.client import HTTPException, HTTPResponse, IncompleteRead
from typing import IO, Any, NamedTuple

MAX_HEAD = 1024 * 1024
"""Maximum bytes of an answer's head, interim answers included."""

MAX_INTERIM = 20
"""Maximum number of interim answers before the final one."""

SWITCHED = 101  # no client of the kit asks for another protocol
_MAX_LINE = 65536  # http.client's own limits
_MAX_FIELDS = 99

_status = re.compile(rb"HTTP/1\.\d +([1-9]\d\d)[ \r\n]").match
_field = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\r\n\0]*)\r?\n?").fullmatch
_FRAMING = {b"content-length": re.compile(rb"\d+").fullmatch, b"transfer-encoding": re.compile(rb"chunked").fullmatch}
_NEEDED_FIELDS = {
    *_FRAMING,
    b"connection",
    b"keep-alive",
    b"content-type",
    b"content-encoding",
    b"etag",
    b"retry-after",
}


class Beginning(NamedTuple):
    """The beginning of an answer's body.

    Attributes:
        body: its bytes.
        complete: True if they are all of it.
        error: why no more bytes came: the deadline, or the end of the connection; None: the limit, or all came.
    """

    body: bytes
    complete: bool
    error: OSError | HTTPException | None


class FinalResponse(HTTPResponse):
    """The final answer to a request: ``response_class`` of an ``HTTPConnection``.

    Of the interim answers (RFC 9110, section 15.2) http.client skips only 100. It takes any other for the final answer,
    and then the final one for the answer to the next request. It also rejects answers with many or long headers,
    whatever their status. This class skips all interim answers except 101, which no HTTP follows, and drops headers
    that are malformed, too long or too many.

    ``is_irregular`` is True if any of this occurred, if the length of the body is ambiguous, or if more bytes than the
    answer have arrived. The connection must not be reused then: the next bytes may not be the next request's answer.
    """

    def __init__(self, sock: Any, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        self._deadline = sock.deadline
        self.is_irregular = False

    def begin(self) -> None:
        if self.headers is not None:
            return
        stream = self.fp
        try:
            self.fp = io.BytesIO(self._final_head(stream))
            super().begin()
        finally:
            self.fp = stream

    def read_beginning(self, limit: int) -> Beginning:
        """Read the beginning of the body, and close the answer.

        At the deadline, or if the server closes the connection, it has the bytes that have arrived.

        Args:
            limit: maximum number of bytes.
        """
        parts: list[bytes] = []
        size, ended = 0, False
        error: OSError | HTTPException | None = None
        try:
            while size < limit and (part := self.read1(limit - size)):
                parts.append(part)
                size += len(part)
            ended = self.isclosed() if self.length is None else self.length == 0
            if not ended and size < limit:
                error = ConnectionError("the answer broke off")
        except IncompleteRead:
            error = ConnectionError("the answer broke off")
        except (OSError, HTTPException) as raised:
            error = raised
        except ValueError:
            error = HTTPException("the body of the answer is malformed")
        self.close()
        return Beginning(b"".join(parts), ended, error)

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
            self.is_irregular |= status < 200
            if status >= 200 or status == SWITCHED:
                return b"".join([first, *self._valid_fields(lines), b"\r\n"])
        raise HTTPException("too many interim answers")

    def _valid_fields(self, lines: list[bytes]) -> list[bytes]:
        """Return the header fields that http.client and its e-mail parser can read."""
        fields = [found for line in lines if len(line) <= _MAX_LINE and (found := _field(line))]
        framing = [found for found in fields if found[1].lower() in _FRAMING]
        self.is_irregular |= (
            not len(lines) == len(fields) <= _MAX_FIELDS
            or len(framing) > 1
            or not all(_FRAMING[found[1].lower()](found[2].strip().lower()) for found in framing)
        )
        if len(fields) > _MAX_FIELDS:
            fields.sort(key=lambda found: found[1].lower() not in _NEEDED_FIELDS)
        return [b"%b:%b\r\n" % found.groups() for found in fields[:_MAX_FIELDS]]

    def _close_conn(self) -> None:
        if isinstance(self.fp, io.BufferedReader) and not self.is_irregular:
            self.is_irregular = self._has_more(self.fp)
        super()._close_conn()  # type: ignore[misc]

    def _has_more(self, stream: io.BufferedReader) -> bool:
        """Return True if further bytes have arrived together with the last ones of the answer."""
        at, self._deadline.at = self._deadline.at, 0.0  # read no bytes that have not arrived yet
        try:
            return bool(stream.peek(1))
        except (OSError, ValueError):
            return False
        finally:
            self._deadline.at = at
