"""Logs in the format of Steadybit's extension-kit: text or JSON, one line per record, on standard error.

Fields of a line travel in the record as ``extra={"fields": {...}}``:

    logger.info("Starting extension http server", extra={"fields": {"port": 8080}})

In JSON, a line has further fields beside them: those of the attempt during which it is written (``attempt_scope``), and
those of a user's ``extra={...}``.

The kit logs to the standard library's loggers like any library. Only its command line calls ``configure``.
"""

from __future__ import annotations

import functools
import json
import logging
import math
import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Literal, TextIO, TypeVar

from extension_kit.observability import attempt_scope
from extension_kit.observability.redaction import Limits, redact

T = TypeVar("T")
Level = Literal["trace", "debug", "info", "warn", "error"]

TRACE = 5
logging.addLevelName(TRACE, "TRACE")
_NUMBERS: dict[Level, int] = {
    "trace": TRACE,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}
_MILLISECONDS = [f".{number:03}".rstrip("0").rstrip(".") + "Z" for number in range(1000)]
_TEXT_LEVELS = {
    TRACE: ("TRC", 34),
    logging.DEBUG: ("DBG", 35),
    logging.INFO: ("INF", 32),
    logging.WARNING: ("WRN", 33),
    logging.ERROR: ("ERR", 31),
    logging.CRITICAL: ("FTL", 31),
}
_JSON_LEVELS = {number: str(name) for name, number in _NUMBERS.items()} | {logging.CRITICAL: "fatal"}

_is_plain = re.compile(r"[!#-<>-\[\]-~]+").fullmatch  # visible ASCII without quote, equals sign and backslash
_encode = json.JSONEncoder(default=str, allow_nan=False, separators=(",", ":")).encode
_encode_string = json.encoder.encode_basestring_ascii

_EXTRA_LIMITS = Limits(2000, 100, 10, 20_000)
_MOST_EXTRA = 50  # fields of a user in a line
_FORMAT = "STEADYBIT_LOG_FORMAT"
_FIRST = ("level", "time", "message")
_BY_LOGGING = {*vars(logging.LogRecord("", 0, "", 0, "", (), None)), "message", "asctime", "taskName"}
"""Attributes of a log record that ``logging`` itself sets."""


def configure(level: Level, fmt: Literal["text", "json"], color: bool | None, stream: TextIO | None = None) -> None:
    """Write all log records of the process to ``stream``, by default standard error.

    ``color`` None colours lines if the stream is a terminal. Another call replaces the earlier configuration.
    """
    stream = stream or sys.stderr
    caller = _NUMBERS[level] <= logging.DEBUG
    color = stream.isatty() if color is None else color
    formatter = JsonFormatter(caller=caller) if fmt == "json" else TextFormatter(caller=caller, color=color)
    attempt_scope.shows_log_context = fmt == "json"
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, LineHandler)]:
        root.removeHandler(handler)
    root.addHandler(LineHandler(stream, formatter))
    root.setLevel(_NUMBERS[level])


def fatal_line(message: str) -> str:
    """Return the line by which a process says why it cannot start, in the format of its log.

    The format is that of the environment: the settings may be wrong.
    """
    if os.environ.get(_FORMAT, "").strip().lower() != "json":
        return f"extension-kit: {message}"
    return JsonFormatter().format(logging.LogRecord("extension_kit", logging.CRITICAL, "", 0, message, (), None))


def catch_all() -> None:
    """Log warnings and uncaught exceptions, which Python would otherwise write to standard error unformatted."""
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda caught: _log_uncaught(caught.exc_type, caught.exc_value, caught.exc_traceback)


def _log_uncaught(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    if error is not None and not issubclass(kind, KeyboardInterrupt | SystemExit):
        logging.getLogger("extension_kit").error("Unhandled exception", exc_info=(kind, error, trace))


class LineFormatter(logging.Formatter):
    """Base of both formats. With ``caller``, a line names the file and line that logged it."""

    def __init__(self, *, caller: bool = False) -> None:
        super().__init__()
        self._caller = caller
        self._second = (-1, "")
        # A program uses few combinations of level and field names, so each template is cached.
        self.template: Callable[..., str] = functools.lru_cache(1000)(self._template)

    def _template(self, level: int, *names: str) -> str:
        """Return a line with ``%s`` for the time, for the message and for the value of each field."""
        raise NotImplementedError

    def message(self, text: str) -> str:
        raise NotImplementedError

    def string(self, text: str) -> str:
        """Return the text of a field's value that is a string."""
        raise NotImplementedError

    def time(self, seconds: float) -> str:
        """Format Unix time as RFC 3339 in UTC, milliseconds without trailing zeros."""
        second, millisecond = divmod(round(seconds * 1000), 1000)
        cached, text = self._second
        if second != cached:
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = (second, text)
        return text + _MILLISECONDS[millisecond]

    def fields(self, record: logging.LogRecord, more: Mapping[str, str]) -> dict[str, object]:
        """Return the fields of a record by name; ``more`` are fields placed after the record's own."""
        own = getattr(record, "fields", None)
        fields: dict[str, object] = {"caller": f"{record.filename}:{record.lineno}"} if self._caller else {}
        return fields | ({**own, **more} if isinstance(own, Mapping) else dict(more))

    def line(self, record: logging.LogRecord, **more: str) -> str:
        """Format a record without a line break. ``more`` are fields placed after the record's own."""
        fields = self.fields(record, more)
        values = [self.string(value) if isinstance(value, str) else _json(value) for value in fields.values()]
        template = self.template(record.levelno, *map(str, fields))
        return template % (self.time(record.created), self.message(record.getMessage()), *values)


class TextFormatter(LineFormatter):
    """``2020-01-01T00:00:59.099Z INF message key=value other="with space"``, a traceback indented below it.

    Line breaks and control characters are escaped, so that no input can forge a line or control a terminal.
    """

    def __init__(self, *, caller: bool = False, color: bool = False) -> None:
        super().__init__(caller=caller)
        self._color = color

    def _template(self, level: int, *names: str) -> str:
        word, color = _of_level(level, _TEXT_LEVELS)
        fields = (" " + self._painted(self.string(name).replace("%", "%%") + "=", 36) + "%s" for name in names)
        return f"%s {self._painted(word, color)}%s{''.join(fields)}"

    def _painted(self, text: str, color: int) -> str:
        return f"\x1b[{color}m{text}\x1b[0m" if self._color else text

    def message(self, text: str) -> str:
        return text and " " + _printable(text)

    def string(self, text: str) -> str:
        return text if _is_plain(text) else _printable(json.dumps(text, ensure_ascii=False))

    def format(self, record: logging.LogRecord) -> str:
        below: list[str] = []
        if record.exc_info and record.exc_info[0]:
            below += self.formatException(record.exc_info).split("\n")
        if record.stack_info:
            below += record.stack_info.split("\n")
        return "\n    ".join([self.line(record), *map(_printable, below)])


class JsonFormatter(LineFormatter):
    """``{"level":"info","time":"2020-01-01T00:00:59.099Z","message":"...", ...fields}``.

    Times have three digits for milliseconds. An exception becomes the fields ``error`` and ``stack``. A field named
    like one of the first three gets the suffix ``_``; so does one of a user that is named like one of the kit. Of
    users' fields, values with names that sound secret are hidden, and long ones are cut.
    """

    def time(self, seconds: float) -> str:
        """Format Unix time as RFC 3339 in UTC with milliseconds."""
        second, _, fraction = super().time(seconds).removesuffix("Z").partition(".")
        return f"{second}.{fraction:0<3}Z"

    def fields(self, record: logging.LogRecord, more: Mapping[str, str]) -> dict[str, object]:
        """Return the fields of a record by name: the kit's, those of the attempt, and those of a user."""
        fields = super().fields(record, more)
        if (context := attempt_scope.context_of(record)) is not None:
            of_attempt = {name: value for name, value in context._asdict().items() if value is not None}
            fields = {f"{name}_" if name in of_attempt else name: value for name, value in fields.items()} | of_attempt
        for given, value in _extra(record):
            name = given
            while name in fields or name in _FIRST:
                name += "_"
            fields[name] = value
        return fields

    def _template(self, level: int, *names: str) -> str:
        names = tuple(name + "_" if name in _FIRST else name for name in names)
        fields = (f",{_encode_string(name).replace('%', '%%')}:%s" for name in names)
        return f'{{"level":"{_of_level(level, _JSON_LEVELS)}","time":"%s","message":%s{"".join(fields)}}}'

    def message(self, text: str) -> str:
        return _encode_string(text)

    def string(self, text: str) -> str:
        return _encode_string(text)

    def format(self, record: logging.LogRecord) -> str:
        if record.exc_info and record.exc_info[0]:
            error = "".join(traceback.format_exception_only(record.exc_info[1])).strip()
            return self.line(record, error=error, stack=self.formatException(record.exc_info))
        return self.line(record, stack=record.stack_info) if record.stack_info else self.line(record)


class LineHandler(logging.StreamHandler[TextIO]):
    """Handler installed by ``configure``. It can also write a formatted line without a record."""

    def __init__(self, stream: TextIO, lines: LineFormatter) -> None:
        super().__init__(stream)
        self.setFormatter(lines)
        self.lines = lines

    def write(self, line: str) -> None:
        """Write a line and flush. A line that cannot be written is lost: no request fails for its log line."""
        self.acquire()
        try:
            self.stream.write(line + "\n")
            self.stream.flush()
        except (OSError, ValueError):
            pass
        finally:
            self.release()


def _extra(record: logging.LogRecord) -> list[tuple[str, Any]]:
    """Return the fields that a user gave by ``extra``."""
    given = [(f"{name}", value) for name, value in vars(record).items() if name not in _BY_LOGGING]
    of_user = [
        (name, value)
        for name, value in given
        if not (name == "fields" and isinstance(value, Mapping)) and not isinstance(value, attempt_scope.LogContext)
    ]
    return [(name[: _EXTRA_LIMITS.characters], _shown(name, value)) for name, value in of_user[:_MOST_EXTRA]]


def _shown(name: str, value: object) -> object:
    try:
        return redact({name: value}, _EXTRA_LIMITS).popitem()[1]
    except Exception:  # of the value's own methods
        return f"<{type(value).__name__}>"


def _of_level(level: int, words: Mapping[int, T]) -> T:
    """Return the words of a level; custom levels use those of the next lower one."""
    return words[max((number for number in words if number <= level), default=TRACE)]


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _json(value: object) -> str:
    # Of keys that are no strings, NaN, reference cycles, depth, long integers, and of the value's own methods.
    with suppress(Exception):
        if value.__class__ is int or (value.__class__ is float and math.isfinite(value)):  # faster than the encoder
            return repr(value)
        return _encode(value)
    with suppress(Exception):
        return _encode_string(repr(value))
    return _encode_string(f"<{type(value).__name__}>")
