"""Work of one request: bounds its steps and its bytes, so that neither an action nor an event stops a worker."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import orjson

_MOST_STEPS = 5_000_000
"""Maximum steps of a request, of about one microsecond each."""

_MOST_BYTES = 64 * 1024**2
"""Maximum bytes of all values that are inserted into a request."""


class TooMuchWork(ValueError):
    """A request needs more steps, or has more bytes, than one may have."""


class _Left:
    def __init__(self, steps: int, size: int) -> None:
        self.steps = steps
        self.bytes = size


_left: ContextVar[_Left | None] = ContextVar("eventhos_work", default=None)


@contextmanager
def limited_work() -> Iterator[None]:
    """Limit the work of the block in this thread."""
    token = _left.set(_Left(_MOST_STEPS, _MOST_BYTES))
    try:
        yield
    finally:
        _left.reset(token)


def spend(steps: int) -> None:
    """Take steps from those that are left; without a limit, nothing.

    Raises:
        TooMuchWork: too few are left.
    """
    if (left := _left.get()) is not None:
        left.steps -= steps
        if left.steps < 0:
            raise TooMuchWork("the event is too large for the paths and expressions of the action")


def spend_bytes(size: int) -> None:
    """Take bytes from those that are left; without a limit, nothing.

    Raises:
        TooMuchWork: too few are left.
    """
    if (left := _left.get()) is not None:
        left.bytes -= size
        if left.bytes < 0:
            raise TooMuchWork(f"the request would have more than {_MOST_BYTES} bytes of the event")


def spend_inserted(value: Any) -> None:
    """Take the bytes of a JSON value, as it is written.

    Raises:
        TooMuchWork: too few are left.
        ValueError: it is nested too deep to be written.
    """
    if isinstance(value, str):
        spend_bytes(len(value))
    elif isinstance(value, dict | list) and value:
        try:
            spend_bytes(len(orjson.dumps(value)))
        except TypeError:
            raise ValueError("the value of the event is nested too deep") from None
