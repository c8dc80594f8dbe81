"""Recordings: reads events from files of JSON or JSON lines."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

import orjson

from extension_kit.errors import ConfigurationError

Body = dict[str, Any]
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Recording:
    """Events from a file. ``total`` is their number, or None if it is unknown before the end."""

    events: Iterator[Body]
    total: int | None


@contextmanager
def open_recording(path: str) -> Iterator[Recording]:
    """Open a file of events: JSON lines, read one by one, a JSON array, or a single event.

    Args:
        path: the file, or ``-`` for standard input.

    Raises:
        ConfigurationError: the file cannot be read, or holds no events. The iterator raises it for an invalid event.
    """
    if path == "-":
        yield _read(sys.stdin.buffer, "standard input")
        return
    try:
        with open(path, "rb") as file:
            recording = _read(file, path)
            yield recording
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from None


def _read(file: IO[bytes], name: str) -> Recording:
    number, line = 1, file.readline().removeprefix(_BYTE_ORDER_MARK)
    while line.isspace():
        number, line = number + 1, file.readline()
    if not line:
        raise ConfigurationError(f"{name} holds no events")
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError:
        document = _decode(line + file.read(), name, number)  # the document spans several lines, or is broken
    head = document if isinstance(document, list) else [document]
    return Recording(
        _events(head, file, name, number), len(head) + rest if (rest := _count(file)) is not None else None
    )


def _count(file: IO[bytes]) -> int | None:
    """Count the remaining lines without consuming them."""
    if not file.seekable():
        return None
    position = file.tell()
    count = sum(1 for line in file if not line.isspace())
    file.seek(position)
    return count


def _events(head: list[Any], file: IO[bytes], name: str, number: int) -> Iterator[Body]:
    for event in head:
        yield _checked(event, name, number)
    for following, line in enumerate(file, number + 1):
        if not line.isspace():
            yield _checked(_decode(line, name, following), name, following)


def _decode(text: bytes, name: str, number: int) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        line = number + error.lineno - 1
        raise ConfigurationError(f"{name}, line {line}, column {error.colno} is not JSON: {error.msg}") from None


def _checked(event: Any, name: str, number: int) -> Body:
    if not isinstance(event, dict):
        raise ConfigurationError(f"{name}, line {number}: an event is a JSON object, not {str(event)[:40]}")
    return event
