"""Lenient JSON reader for requests of other systems, which are not always strict JSON.

``json.dumps`` of Python writes NaN, Infinity and lone surrogates, which occur in file names that are not valid text. An
event that is refused for them is lost, and it is likely to be the event of a failure.
"""

import json
import math
import re
from typing import Any, NamedTuple

import orjson

_HALF = re.compile("[\ud800-\udfff]")
_MOST_DIGITS = 20  # of a whole number of 64 bits, with its sign


class ForeignJson(NamedTuple):
    """The decoded JSON of another system.

    Attributes:
        value: JSON data that every writer and every database takes.
        repairs: descriptions of the repairs, nearly always empty.
    """

    value: Any
    repairs: tuple[str, ...]


def read_foreign_json(body: bytes) -> ForeignJson:
    """Read JSON in UTF-8, strict or as Python's ``json`` writes it.

    A byte order mark is skipped, NaN and infinite numbers become null, lone surrogates become U+FFFD.

    Raises:
        ValueError: the body is not JSON.
    """
    try:
        return ForeignJson(orjson.loads(body), ())
    except orjson.JSONDecodeError:
        return _read_leniently(body)


def _read_leniently(body: bytes) -> ForeignJson:
    repairs: dict[str, None] = {}
    number = _Numbers(repairs)
    try:
        text = body.decode("utf-8", "surrogatepass")
        if text.startswith("\ufeff"):
            repairs["a byte order mark was skipped"] = None
        value = json.loads(
            text.removeprefix("\ufeff"),
            parse_constant=number.constant,
            parse_float=number.fraction,
            parse_int=number.whole,
        )
        return ForeignJson(_with_whole_characters(value, repairs), tuple(repairs))
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


class _Numbers:
    """Reads numbers as ``orjson`` does; NaN and infinite numbers become None."""

    def __init__(self, repairs: dict[str, None]) -> None:
        self._repairs = repairs

    def constant(self, text: str) -> None:
        self._repairs["NaN or Infinity was read as null"] = None

    def fraction(self, text: str) -> float | None:
        if math.isfinite(number := float(text)):
            return number
        self.constant(text)
        return None

    def whole(self, text: str) -> float | None:
        if len(text) <= _MOST_DIGITS and -(2**63) <= (number := int(text)) < 2**64:
            return number
        return self.fraction(text)


def _with_whole_characters(value: Any, repairs: dict[str, None]) -> Any:
    if isinstance(value, str):
        if not _HALF.search(value):
            return value
        repairs["half a character was read as U+FFFD"] = None
        # By way of UTF-16, in which two halves that belong together are one character.
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, list):
        return [_with_whole_characters(each, repairs) for each in value]
    if isinstance(value, dict):
        return {_with_whole_characters(k, repairs): _with_whole_characters(v, repairs) for k, v in value.items()}
    return value
