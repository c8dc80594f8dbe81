"""Bodies of requests, read from the environment of a WSGI server up to a limit."""

from io import BytesIO
from typing import Any

from werkzeug.exceptions import BadRequest
from werkzeug.wsgi import get_content_length, get_input_stream

_CHUNK = 256 * 1024
_DROPPED_LIMITS = 4
_DIGITS = 10


def read_body(environ: dict[str, Any], limit: int) -> bytes | None:
    """Read the body of a request; return None if it is over ``limit`` bytes.

    A body over the limit is still read, up to a multiple of the limit, and dropped: if a server closes a connection
    while the client is sending, the client sees a broken connection instead of the answer.

    Args:
        environ: the WSGI environment of the request.
        limit: bytes.

    Raises:
        BadRequest: the body broke off, or its chunks are malformed.
    """
    stream = get_input_stream(environ)
    announced = get_content_length(environ) or 0
    chunks = []
    size = 0
    try:
        while size <= limit * _DROPPED_LIMITS and (chunk := stream.read(_CHUNK)):
            size += len(chunk)
            if size <= limit:
                chunks.append(chunk)
    except Exception as error:  # every WSGI server has its own exceptions for client errors
        raise BadRequest("The body broke off, or its chunks are malformed.") from error
    if max(size, announced) > limit:
        return None
    if size < announced:
        raise BadRequest("The body broke off: it is shorter than its Content-Length.")
    return b"".join(chunks)


def simple_size(environ: dict[str, Any], limit: int) -> int:
    """Return the bytes of a body with a Content-Length of at most ``limit``; 0 for every other body, and for none."""
    text = environ.get("CONTENT_LENGTH") or ""
    if "HTTP_TRANSFER_ENCODING" in environ or not (text.isascii() and text.isdigit()) or len(text) > _DIGITS:
        return 0
    size = int(text)
    return size if size <= limit else 0


def read_simple_body(environ: dict[str, Any], size: int) -> bytes | None:
    """Read a body of ``size`` bytes; return None if it broke off, which ``read_body`` then finds out, too."""
    stream = environ["wsgi.input"]
    try:
        body: bytes = stream.read(size)
        while len(body) < size:
            if not (rest := stream.read(size - len(body))):
                environ["wsgi.input"] = BytesIO(body)
                return None
            body += rest
    except Exception:  # every WSGI server has its own; the next reader gets it, too
        return None
    return body
