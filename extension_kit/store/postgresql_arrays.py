"""PostgreSQL arrays: columns of many rows, encoded in one go; psycopg would encode their values one by one."""

import struct
from collections.abc import Sequence
from typing import Any

import orjson
import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format

_PLAIN = frozenset({"text", "bigint", "integer", "timestamptz", "boolean"})
"""Types with values that JSON writes as an array's text has them."""

_HEAD = struct.Struct(">iiIii").pack  # dimensions, nulls, type, length, first index
_LENGTH = struct.Struct(">i").pack
_NULL = _LENGTH(-1)
_BYTEA = 17  # number of the type in every PostgreSQL, as is that of its arrays


class ByteaArray(bytes):
    """An array of bytes in PostgreSQL's binary form."""


class ByteaArrayDumper(Dumper):
    """Hands over arrays of bytes as they are."""

    format = Format.BINARY
    oid = 1001

    def dump(self, obj: ByteaArray) -> Buffer:
        """Return the array."""
        return obj


psycopg.adapters.register_dumper(ByteaArray, ByteaArrayDumper)


def array(kind: str, values: Sequence[Any]) -> Any:
    """Encode the values of a column, at least one, for a variable of a statement; None is NULL.

    Args:
        kind: the type of the column.
        values: of psycopg's types for it.

    Returns:
        The array's text; bytes, which as a text would take twice the room, in binary; a list, which psycopg encodes,
        where neither is possible.
    """
    if kind == "bytea":
        return _of_bytes(values)
    if kind in _PLAIN:
        try:
            text = orjson.dumps(values)
        except TypeError:  # texts that are no Unicode, large numbers: psycopg knows, or refuses them
            return list(values)
        if b"\\" not in text:  # an array's text has escapes of its own
            return f"{{{text[1:-1].decode()}}}"
    return list(values)


def _of_bytes(values: Sequence[bytes | None]) -> ByteaArray:
    parts = [_HEAD(1, 1, _BYTEA, len(values), 1)]
    for value in values:
        if value is None:
            parts.append(_NULL)
        else:
            parts += (_LENGTH(len(value)), value)
    return ByteaArray(b"".join(parts))
