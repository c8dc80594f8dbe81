"""Request headers: ``Request-Timeout`` and ``Request-Id``, as Steadybit's agents send them."""

import os
import time
from itertools import count
from uuid import uuid4

_MAX_TIMEOUT = 86400.0


def parse_timeout(value: str) -> float | None:
    """Read ``Request-Timeout`` as seconds, at most a day; None if it is not a positive number.

    Steadybit's extension-kit ignores such a header, too.
    """
    try:
        seconds = float(value)
    except ValueError:
        return None
    return min(seconds, _MAX_TIMEOUT) if seconds > 0 else None


_PREFIX = uuid4().hex[:12]
_NUMBERS = count(1)


def request_id(value: str) -> str:
    """Return the sender's request id if it is fit for a header and a log line, else a new one."""
    if 0 < len(value) <= 128 and value.isascii() and value.isprintable() and " " not in value:
        return value
    return f"{_PREFIX}-{os.getpid():x}-{next(_NUMBERS):x}"  # the prefix is shared by processes forked later


def deadline_after(timeout: float) -> float:
    """Return the time ``timeout`` seconds from now, by ``time.monotonic()``."""
    return time.monotonic() + timeout
