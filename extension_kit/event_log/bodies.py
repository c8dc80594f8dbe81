"""Bodies of events as pages show them: indented, without secrets unless the viewer may see them, and cut."""

import sys
from typing import NamedTuple

import orjson

from extension_kit.observability.redaction import PAGE_LIMITS, Limits, beginning, redact

_MOST_SHOWN = 256 * 1024  # characters
_SMALL = 64 * 1024  # bytes of a body that is shown whole
_WHOLE = Limits(sys.maxsize, sys.maxsize, 200, sys.maxsize)


class ShownBody(NamedTuple):
    """A body to be shown.

    Attributes:
        text: the text.
        size: bytes of the whole body.
        is_cut: True if the text is not all of it.
        is_raw: True if secrets are not hidden.
    """

    text: str
    size: int
    is_cut: bool
    is_raw: bool


def show_body(body: bytes, *, is_raw: bool) -> ShownBody:
    """Return the text of a body for a page."""
    if is_raw:
        text = body[: 4 * _MOST_SHOWN].decode(errors="replace")
        return ShownBody(text[:_MOST_SHOWN], len(body), len(text) > _MOST_SHOWN, is_raw)
    is_small = len(body) <= _SMALL
    text = _redacted(body, _WHOLE if is_small else PAGE_LIMITS).decode()
    return ShownBody(text[:_MOST_SHOWN], len(body), not is_small or len(text) > _MOST_SHOWN, is_raw)


def whole_body(body: bytes, *, is_raw: bool) -> bytes:
    """Return a body to be downloaded: as it was sent, or all of it without secrets."""
    return body if is_raw else _redacted(body, _WHOLE)


def _redacted(body: bytes, limits: Limits) -> bytes:
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        return beginning(body.decode(errors="replace"), limits.characters).encode()
    return orjson.dumps(redact(data, limits), option=orjson.OPT_INDENT_2)
