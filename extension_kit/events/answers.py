"""Answers to requests: status, body and headers, the same for the Flask and the ASGI edge."""

import gzip
from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

COMPRESS_FROM = 1024
"""Bytes from which a body is compressed for clients that accept it (upstream: extension-kit compresses from 1 KiB)."""


CLOSE = ("Connection", "close")
"""Header of an answer after which the connection is closed."""


class Answer(NamedTuple):
    """A complete answer; ``headers`` holds the headers beyond Content-Type and Content-Length."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


def problem(
    status: int,
    title: str,
    detail: str | None = None,
    *,
    errors: Sequence[dict[str, Any]] = (),
    headers: tuple[tuple[str, str], ...] = (),
) -> Answer:
    """Make an error answer: ``title`` and ``detail`` as Steadybit's extension-kit defines them, and ``errors``."""
    content: dict[str, Any] = {"title": title}
    if detail:
        content["detail"] = detail
    if errors:
        content["errors"] = errors
    return Answer(status, orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE), headers=headers)


ACCEPTED = Answer(200, b"{}")
KNOWN = Answer(200, b"{}", headers=(("Extension-Duplicate", "true"),))
"""The answer to a duplicate event: no listener runs. The header tells people about it during a replay."""
TIMEOUT = Answer(503, b"Timeout", "text/plain; charset=utf-8")
BUSY = problem(
    503,
    "Too many events are waiting",
    "All threads are busy and the queue is full; send the event again in a moment.",
    headers=(("Retry-After", "1"),),
)
NOT_STORED = problem(
    503,
    "The event could not be stored",
    "The database cannot be written at the moment; send the event again.",
    headers=(("Retry-After", "1"),),
)
UNAUTHORIZED = problem(
    401,
    "Wrong or missing credentials",
    "This extension asks for basic authentication; give the agent its user name and password.",
    headers=(("WWW-Authenticate", 'Basic realm="extension", charset="UTF-8"'),),
)
NOT_FOUND = problem(404, "Not found", "Nothing is served at this path; GET / lists the event listeners.")


def method_not_allowed(*allowed: str) -> Answer:
    """Make the answer to a method that a path does not have."""
    methods = ", ".join(allowed)
    return problem(405, "Method not allowed", f"Use {methods} at this path.", headers=(("Allow", methods),))


def too_large(limit: int) -> Answer:
    """Make the answer to a body over the limit, in bytes."""
    return problem(413, "The event is too large", f"At most {limit} bytes are accepted.")


def compressed(answer: Answer, accept_encoding: str) -> Answer:
    """Compress an answer with gzip if it has at least ``COMPRESS_FROM`` bytes and the client accepts gzip.

    ``Vary`` is set on every answer of that size, compressed or not, so that caches keep the two apart.
    """
    if len(answer.body) < COMPRESS_FROM:
        return answer
    vary = (*answer.headers, ("Vary", "Accept-Encoding"))
    if not _accepts_gzip(accept_encoding):
        return answer._replace(headers=vary)
    body = gzip.compress(answer.body, compresslevel=5, mtime=0)
    return answer._replace(body=body, headers=(*vary, ("Content-Encoding", "gzip")))


def _accepts_gzip(accept_encoding: str) -> bool:
    weights = {}
    for entry in accept_encoding.split(","):
        coding, _, parameters = entry.strip().lower().partition(";")
        weights[coding.strip()] = parameters.replace(" ", "")
    weight = weights.get("gzip", weights.get("*", "q=0"))
    return weight.rstrip("0") not in ("q=", "q=0.")
