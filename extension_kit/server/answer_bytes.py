"""Bytes of an answer, as uvicorn writes them for an ASGI application."""

from collections.abc import Iterable

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from extension_kit.events.answers import CLOSE, Answer


def encode(answer: Answer, request_id: str, default_headers: Iterable[tuple[bytes, bytes]], *, close: bool) -> bytes:
    """Return the bytes of an answer, head and body.

    Args:
        answer: the answer.
        request_id: for its header.
        default_headers: the server's, such as the date.
        close: the connection is closed after it.
    """
    parts = [STATUS_LINE[answer.status]]
    parts += [b"%b: %b\r\n" % header for header in default_headers]
    head = f"content-type: {answer.content_type}\r\ncontent-length: {len(answer.body)}\r\nrequest-id: {request_id}\r\n"
    for name, value in answer.headers:
        head += f"{name.lower()}: {value}\r\n"
    if close and CLOSE not in answer.headers:
        head += "connection: close\r\n"
    parts += (head.encode(), b"\r\n", answer.body)
    return b"".join(parts)
