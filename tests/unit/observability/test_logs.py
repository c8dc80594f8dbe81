"""Log lines as a reader and as a log collector see them."""

import asyncio
import datetime
import io
import json
import logging
import os
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from extension_kit.observability import attempt_scope, logs
from extension_kit.observability.access_log import AccessLog
from extension_kit.observability.attempt_scope import AttemptScope
from extension_kit.observability.logs import TRACE, JsonFormatter, TextFormatter, fatal_line
from extension_kit.observability.redaction import Limits, redact, redact_text

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,3})?Z")
REQUEST: dict[str, Any] = {
    "method": "POST",
    "url": "/events/page",
    "status": 200,
    "request_size": 912,
    "response_size": 2,
    "duration_ms": 1.23456,
    "request_id": "d0a1b2",
}


@pytest.fixture(autouse=True)
def root() -> Iterator[logging.Logger]:
    """The root logger, afterwards as it was."""
    root = logging.getLogger()
    level = root.level
    yield root
    for handler in root.handlers[:]:
        root.removeHandler(handler)
    root.setLevel(level)


def configure(*arguments: Any) -> None:
    """What the function does in a new process, where pytest has no handlers."""
    logging.getLogger().handlers[:] = []
    logs.configure(*arguments)


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def untimed(line: str) -> str:
    return TIME.sub("TIME", line)


def record(
    message: str = "",
    /,
    *,
    level: int = logging.INFO,
    at: float = 1577836859.099,
    exc_info: Any = None,
    **fields: object,
) -> logging.LogRecord:
    made = logging.LogRecord("any", level, "/app/oncall.py", 12, message, (), exc_info)
    made.created = at
    made.fields = fields
    return made


def failure(error: BaseException) -> Any:
    try:
        raise error
    except BaseException:
        return sys.exc_info()


@pytest.mark.parametrize(
    ("level", "text", "name"),
    [
        (TRACE, "TRC", "trace"),
        (logging.DEBUG, "DBG", "debug"),
        (logging.INFO, "INF", "info"),
        (logging.WARNING, "WRN", "warn"),
        (logging.ERROR, "ERR", "error"),
        (logging.CRITICAL, "FTL", "fatal"),
        (25, "INF", "info"),
        (99, "FTL", "fatal"),
        (1, "TRC", "trace"),
    ],
)
def test_levels(level: int, text: str, name: str) -> None:
    assert TextFormatter().format(record("test", level=level)) == f"2020-01-01T00:00:59.099Z {text} test"
    assert (
        JsonFormatter().format(record("test", level=level))
        == f'{{"level":"{name}","time":"2020-01-01T00:00:59.099Z","message":"test"}}'
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (0.1, "1970-01-01T00:00:00.1Z"),
        (0.12, "1970-01-01T00:00:00.12Z"),
        (0.005, "1970-01-01T00:00:00.005Z"),
        (1577836859.099, "2020-01-01T00:00:59.099Z"),
        (1577836859.9999, "2020-01-01T00:01:00Z"),
    ],
)
def test_times(seconds: float, text: str) -> None:
    assert TextFormatter().time(seconds) == text


def test_times_of_one_formatter_do_not_mix() -> None:
    formatter = TextFormatter()

    assert [formatter.time(seconds) for seconds in (1.5, 1.25, 2, 1)] == [
        f"1970-01-01T00:00:0{second}Z" for second in ("1.5", "1.25", "2", "1")
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ("/a/b?c", "/a/b?c"),
        ("", '""'),
        ("with space", '"with space"'),
        ("a=b", '"a=b"'),
        ('say "hi"', r'"say \"hi\""'),
        ("back\\slash", r'"back\\slash"'),
        ("two\nlines", r'"two\nlines"'),
        ("Zürich", '"Zürich"'),
        ("\x1b[31m", r'"\u001b[31m"'),
        ("\u2028", r'"\u2028"'),
        ("\udc80", r'"\udc80"'),
        ("100%s", "100%s"),
        (7, "7"),
        (1.5, "1.5"),
        (True, "true"),
        (None, "null"),
        ({"a": ["b c", 1]}, '{"a":["b c",1]}'),
    ],
)
def test_fields_in_text(value: object, text: str) -> None:
    assert TextFormatter().format(record("test", key=value, n=1)) == f"2020-01-01T00:00:59.099Z INF test key={text} n=1"


def test_names_of_fields_in_text() -> None:
    assert untimed(TextFormatter().format(record(**{"a b": 1, "c%s": 2}))) == 'TIME INF "a b"=1 c%s=2'


def test_colours() -> None:
    line = TextFormatter(color=True).format(record("test", key="value"))

    assert line == "2020-01-01T00:00:59.099Z \x1b[32mINF\x1b[0m test \x1b[36mkey=\x1b[0mvalue"


@pytest.mark.parametrize(
    "value",
    ["", "two\nlines", "Zürich", "\udc80", 7, 1.5, True, None, {"a": ["b c", 1]}, [], "%s"],
)
def test_fields_in_json(value: object) -> None:
    line = JsonFormatter().format(record("%", key=value))

    assert json.loads(line) == {"level": "info", "time": "2020-01-01T00:00:59.099Z", "message": "%", "key": value}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (float("nan"), "nan"),
        ({"x": float("inf")}, "{'x': inf}"),
        ({("a", 1): 2}, "{('a', 1): 2}"),
        (Decimal("1.50"), "1.50"),
        (datetime.date(2020, 1, 2), "2020-01-02"),
    ],
)
def test_values_json_does_not_have(value: object, text: str) -> None:
    assert json.loads(JsonFormatter().format(record(key=value)))["key"] == text


def test_a_value_that_contains_itself() -> None:
    circle: list[object] = []
    circle.append(circle)

    assert json.loads(JsonFormatter().format(record(key=circle)))["key"] == "[[...]]"
    assert untimed(TextFormatter().format(record(key=circle))) == 'TIME INF key="[[...]]"'


def test_fields_do_not_replace_the_first_three_in_json() -> None:
    line = json.loads(JsonFormatter().format(record("test", level_=1, message="forged", time="never")))

    assert (line["message"], line["message_"], line["time_"]) == ("test", "forged", "never")


def test_fields_of_others_that_are_no_mapping_are_those_of_a_user() -> None:
    plain, odd = record("test"), record("test")
    odd.fields = ["a"]

    assert TextFormatter().format(odd) == TextFormatter().format(plain)
    assert json.loads(JsonFormatter().format(odd))["fields"] == ["a"]


def test_times_in_json_have_one_width() -> None:
    times = [JsonFormatter().time(seconds) for seconds in (0, 0.1, 0.12, 0.005, 1577836859.9999)]

    assert times == [
        "1970-01-01T00:00:00.000Z",
        "1970-01-01T00:00:00.100Z",
        "1970-01-01T00:00:00.120Z",
        "1970-01-01T00:00:00.005Z",
        "2020-01-01T00:01:00.000Z",
    ]


def logged(stream: io.StringIO, **extra: object) -> dict[str, Any]:
    """A line of JSON as a user's function writes it."""
    configure("info", "json", None, stream)
    logging.getLogger("oncall").info("test", extra=extra)
    line: dict[str, Any] = json.loads(stream.getvalue())
    return line


def test_what_a_user_gives_as_extra_is_in_json_only(stream: io.StringIO) -> None:
    line = logged(stream, desk=7, who={"name": ["Ada"]}, level="forged", stack="mine")

    assert (line["desk"], line["who"]) == (7, {"name": ["Ada"]})
    assert (line["level"], line["level_"], line["stack"]) == ("info", "forged", "mine")
    text = io.StringIO()
    configure("info", "text", False, text)
    logging.getLogger("oncall").info("test", extra={"desk": 7})
    assert untimed(text.getvalue()) == "TIME INF test\n"


def test_secrets_in_extra_are_hidden_and_long_values_cut(stream: io.StringIO) -> None:
    url = "https://ada:hush@example.com/?token=hush"
    line = logged(stream, api_token="hush", nested={"password": "hush"}, url=url, long="x" * 100_000)

    assert (line["api_token"], line["nested"]) == ("***", {"password": "***"})
    assert "hush" not in stream.getvalue()
    assert len(line["long"]) < 3000


class Broken:
    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__


@pytest.mark.parametrize(
    "make",
    [Broken, lambda: {"a": Broken()}, lambda: 10**5000, lambda: {Broken: 1}, lambda: float("nan"), object, lambda: {1}],
)
@pytest.mark.parametrize("name", ["value", "fields"])
def test_no_value_breaks_a_line(stream: io.StringIO, name: str, make: Callable[[], object]) -> None:
    value = make()
    line = logged(stream, **({"fields": {"value": value}} if name == "fields" else {name: value}))

    assert line["message"] == "test"
    assert "value" in line


def test_an_extra_named_like_an_error_does_not_replace_it(stream: io.StringIO) -> None:
    configure("info", "json", None, stream)
    try:
        raise ValueError("bad")
    except ValueError:
        logging.getLogger("oncall").exception("failed", extra={"error": "mine"})

    line = json.loads(stream.getvalue())
    assert (line["error"], line["error_"]) == ("ValueError: bad", "mine")


@pytest.fixture
def scope() -> Iterator[AttemptScope]:
    shows = attempt_scope.shows_log_context
    yield AttemptScope("x.page@/events/page", "a.b", "e-1", 3, f"00-{'ab' * 16}-{'cd' * 8}-01")
    attempt_scope.shows_log_context = shows


def test_lines_of_an_attempt_name_it(stream: io.StringIO, scope: AttemptScope) -> None:
    configure("info", "json", None, stream)
    scope.run(logging.getLogger("library").info, "within", extra={"listener": "forged", "fields": {"attempt": 9}})
    logging.getLogger("library").info("outside")

    within, outside = map(json.loads, stream.getvalue().splitlines())
    own = {"listener": "x.page@/events/page", "event_id": "e-1", "attempt": 3, "trace_id": "ab" * 16}
    assert own.items() <= within.items()
    assert (within["listener_"], within["attempt_"]) == ("forged", 9)
    assert not own.keys() & outside.keys()


def test_tasks_and_threads_of_an_attempt_are_within_it(stream: io.StringIO, scope: AttemptScope) -> None:
    configure("info", "json", None, stream)

    async def function() -> None:
        await asyncio.to_thread(logging.getLogger("library").info, "in a thread")
        await asyncio.create_task(asyncio.to_thread(logging.getLogger("library").info, "in a task"))

    scope.run(asyncio.run, function())

    assert [json.loads(line)["event_id"] for line in stream.getvalue().splitlines()] == ["e-1", "e-1"]


def test_attempts_have_a_scope_only_where_it_is_shown(scope: AttemptScope) -> None:
    configure("info", "text", False, io.StringIO())
    assert not attempt_scope.is_scoped()
    configure("info", "json", None, io.StringIO())
    assert attempt_scope.is_scoped()


def test_a_start_that_fails_says_so_in_the_format_of_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STEADYBIT_LOG_FORMAT", raising=False)
    assert fatal_line('no "port"') == 'extension-kit: no "port"'
    monkeypatch.setenv("STEADYBIT_LOG_FORMAT", " JSON")
    line = json.loads(fatal_line('no "port"\n100%'))
    assert (line["level"], line["message"], len(line["time"])) == ("fatal", 'no "port"\n100%', 24)


def test_a_traceback_is_indented_in_text() -> None:
    lines = (
        TextFormatter().format(record("failed", exc_info=failure(ValueError("two\nlines\x1b[2J")), key=1)).split("\n")
    )

    assert untimed(lines[0]) == "TIME INF failed key=1"
    assert lines[1] == "    Traceback (most recent call last):"
    assert lines[-2:] == ["    ValueError: two", r"    lines\x1b[2J"]
    assert all(line.startswith("    ") for line in lines[1:])


def test_a_traceback_is_two_fields_in_json() -> None:
    line = json.loads(JsonFormatter().format(record("failed", exc_info=failure(ValueError("two\nlines")), key=1)))

    assert line["key"] == 1
    assert line["error"] == "ValueError: two\nlines"
    assert line["stack"].startswith("Traceback")
    assert line["stack"].endswith("ValueError: two\nlines")


def test_no_exception_where_there_is_none() -> None:
    absent = record("test", exc_info=(None, None, None))

    assert untimed(TextFormatter().format(absent)) == "TIME INF test"
    assert "error" not in json.loads(JsonFormatter().format(absent))


def test_stack_info() -> None:
    with_stack = record("test")
    with_stack.stack_info = "Stack (most recent call last):\n  here"

    assert (
        untimed(TextFormatter().format(with_stack)) == "TIME INF test\n    Stack (most recent call last):\n      here"
    )
    assert json.loads(JsonFormatter().format(with_stack))["stack"] == with_stack.stack_info


def test_the_caller() -> None:
    assert (
        untimed(TextFormatter(caller=True).format(record("test", key=1))) == "TIME INF test caller=oncall.py:12 key=1"
    )
    assert json.loads(JsonFormatter(caller=True).format(record("test")))["caller"] == "oncall.py:12"


@settings(deadline=None)
@given(st.text())
@example("first\n2020-01-01T00:00:59.099Z INF forged\r\x0b\x0c\x1c\x85\u2028\u2029\udc80\x7f\x9b31m")
def test_no_input_forges_a_line(text: str) -> None:
    made = record(text, exc_info=failure(ValueError(text)), **{text: text})

    first, *below = TextFormatter().format(made).split("\n")
    assert all(line.isprintable() for line in (first, *below))
    assert all(line.startswith("    ") for line in below)

    line = JsonFormatter().format(made)
    assert "\n" not in line
    assert line.isascii()
    assert json.loads(line)["message"] == text


class TestConfigure:
    def test_lines_reach_the_stream(self, stream: io.StringIO) -> None:
        configure("info", "text", None, stream)

        logging.getLogger("any").info("to %s", "you", extra={"fields": {"port": 8080}})
        logging.getLogger("any").debug("unseen")

        assert untimed(stream.getvalue()) == "TIME INF to you port=8080\n"

    def test_standard_error_is_the_default(self, capsys: pytest.CaptureFixture[str]) -> None:
        configure("info", "json", None)

        logging.getLogger("any").warning("test")

        assert json.loads(capsys.readouterr().err)["level"] == "warn"

    @pytest.mark.parametrize(
        ("level", "seen"),
        [
            ("trace", ["TRC", "DBG", "INF", "WRN", "ERR"]),
            ("debug", ["DBG", "INF", "WRN", "ERR"]),
            ("info", ["INF", "WRN", "ERR"]),
            ("warn", ["WRN", "ERR"]),
            ("error", ["ERR"]),
        ],
    )
    def test_levels(self, stream: io.StringIO, level: Any, seen: list[str]) -> None:
        configure(level, "text", False, stream)

        for number in (TRACE, logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
            logging.getLogger("any").log(number, "test")

        assert re.findall(r"Z (\w+) test", stream.getvalue()) == seen

    @pytest.mark.parametrize(("level", "has_caller"), [("trace", True), ("debug", True), ("info", False)])
    def test_the_caller_is_for_debugging(self, stream: io.StringIO, level: Any, has_caller: bool) -> None:
        configure(level, "text", False, stream)

        logging.getLogger("any").info("test")

        assert ("caller=test_logs.py:" in stream.getvalue()) is has_caller

    @pytest.mark.parametrize(("color", "coloured"), [(True, True), (False, False), (None, False)])
    def test_colour_of_a_file(self, stream: io.StringIO, color: bool | None, coloured: bool) -> None:
        configure("info", "text", color, stream)

        logging.getLogger("any").info("test")

        assert ("\x1b" in stream.getvalue()) is coloured

    def test_a_terminal_gets_colours(self) -> None:
        ours, theirs = os.openpty()
        with os.fdopen(theirs, "w") as terminal:
            configure("info", "text", None, terminal)
            logging.getLogger("any").info("test")
            assert b"\x1b[32mINF" in os.read(ours, 1000)
        os.close(ours)

    def test_again_it_replaces_what_it_set_up(self, stream: io.StringIO, root: logging.Logger) -> None:
        configure("info", "text", False, io.StringIO())
        of_others = logging.NullHandler()
        root.addHandler(of_others)
        logs.configure("error", "json", False, stream)

        logging.getLogger("any").info("unseen")
        logging.getLogger("any").error("test")

        assert json.loads(stream.getvalue())["message"] == "test"
        assert of_others in root.handlers
        assert len(root.handlers) == 2


class TestAccessLog:
    def test_text(self, stream: io.StringIO) -> None:
        configure("info", "text", False, stream)

        AccessLog().write(**REQUEST)

        assert untimed(stream.getvalue()) == (
            "TIME INF method=POST url=/events/page res_size=2 req_size=912 duration=1.235 status=200 req_id=d0a1b2\n"
        )

    def test_json(self, stream: io.StringIO) -> None:
        configure("info", "json", False, stream)

        AccessLog().write(**REQUEST)

        line = json.loads(stream.getvalue())
        assert TIME.fullmatch(line.pop("time"))
        assert line == {
            "level": "info",
            "message": "",
            "method": "POST",
            "url": "/events/page",
            "res_size": 2,
            "req_size": 912,
            "duration": 1.235,
            "status": 200,
            "req_id": "d0a1b2",
        }

    @pytest.mark.parametrize(
        ("level", "method", "seen"),
        [
            ("debug", "GET", "DBG"),
            ("info", "GET", None),
            ("info", "POST", "INF"),
            ("info", "HEAD", "INF"),
            ("warn", "POST", None),
        ],
    )
    def test_levels(self, stream: io.StringIO, level: Any, method: str, seen: str | None) -> None:
        configure(level, "text", False, stream)

        AccessLog().write(**REQUEST | {"method": method})

        assert (re.findall(r"Z (\w+) ", stream.getvalue()) or [None]) == [seen]

    @pytest.mark.parametrize("fmt", ["text", "json"])
    @pytest.mark.parametrize("color", [True, False])
    @pytest.mark.parametrize("odd", ["/a b", "/\n2020-01-01T00:00:59Z INF forged", "/" + "x" * 5000, "/%s", "/\udc80"])
    def test_with_and_without_a_record_the_line_is_the_same(
        self, stream: io.StringIO, root: logging.Logger, fmt: Any, color: bool, odd: str
    ) -> None:
        configure("info", fmt, color, stream)
        request = REQUEST | {"url": odd, "request_id": odd, "method": odd[:10]}

        AccessLog().write(**request)
        root.addHandler(logging.NullHandler())  # somebody else now wants the record
        AccessLog().write(**request)

        without, with_record = stream.getvalue().splitlines()
        assert untimed(without) == untimed(with_record)

    def test_a_url_is_cut(self, stream: io.StringIO) -> None:
        configure("info", "json", False, stream)

        AccessLog().write(**REQUEST | {"url": "/" * 5000})

        assert json.loads(stream.getvalue())["url"] == "/" * 2000 + "..."

    def test_without_configure_it_is_ordinary_logging(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)

        AccessLog().write(**REQUEST)

        (made,) = caplog.records
        assert (made.name, made.levelname, made.getMessage()) == ("extension_kit.access", "INFO", "")
        assert made.fields["status"] == 200  # type: ignore[attr-defined]

    @pytest.mark.parametrize("name", ["", "extension_kit", "extension_kit.access"])
    def test_handlers_of_others_get_the_record(self, stream: io.StringIO, name: str) -> None:
        configure("info", "text", False, stream)
        theirs = io.StringIO()
        handler = logging.StreamHandler(theirs)
        handler.setFormatter(logging.Formatter("%(name)s %(fields)s"))
        logging.getLogger(name).addHandler(handler)
        try:
            AccessLog().write(**REQUEST)
        finally:
            logging.getLogger(name).removeHandler(handler)

        assert theirs.getvalue().startswith("extension_kit.access {'method': 'POST'")
        assert stream.getvalue().count("\n") == 1

    def test_filters_of_others_decide(self, stream: io.StringIO, root: logging.Logger) -> None:
        configure("info", "text", False, stream)
        logger = logging.getLogger("extension_kit.access")

        def nothing(record: logging.LogRecord) -> bool:
            return False

        for filtered in (logger, root.handlers[0]):
            filtered.addFilter(nothing)
            AccessLog().write(**REQUEST)
            filtered.removeFilter(nothing)
        assert stream.getvalue() == ""

    def test_propagation_can_be_turned_off(self, stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
        configure("info", "text", False, stream)
        monkeypatch.setattr(logging.getLogger("extension_kit.access"), "propagate", False)
        monkeypatch.setattr(logging, "lastResort", None)

        AccessLog().write(**REQUEST)

        assert stream.getvalue() == ""

    def test_a_broken_stream_breaks_no_request(self) -> None:
        reading, writing = os.pipe()
        os.close(reading)
        stream = os.fdopen(writing, "w", buffering=1)
        configure("info", "text", False, stream)

        AccessLog().write(**REQUEST)

        with pytest.raises(BrokenPipeError):  # what is left in its buffer
            stream.close()
        AccessLog().write(**REQUEST)

    def test_each_line_is_one_write(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # keeps writes apart, unlike a pipe
        ours.settimeout(10)
        with ours, os.fdopen(theirs.detach(), "w", buffering=1) as stream:
            configure("info", "text", False, stream)
            access_log = AccessLog()

            def write() -> None:
                for number in range(20):
                    access_log.write(**REQUEST | {"url": "/" * 1900})
                    logging.getLogger("any").info("record %d", number)

            threads = [threading.Thread(target=write) for _ in range(4)]
            for thread in threads:
                thread.start()
            writes = [ours.recv(10_000).decode() for _ in range(160)]
            for thread in threads:
                thread.join()

        assert {untimed(line) for line in writes if "record" not in line} == {
            f"TIME INF method=POST url={'/' * 1900} res_size=2 req_size=912 duration=1.235 status=200 req_id=d0a1b2\n"
        }
        assert all(re.fullmatch(r"TIME INF record \d+\n", untimed(line)) for line in writes if "record" in line)


@pytest.mark.parametrize(
    "key",
    [
        "password",
        "db_passwd",
        "PASSPHRASE",
        "pwd",
        "clientSecret",
        "access-token",
        "Authorization",
        "Set-Cookie",
        "X-Api-Key",
        "apiKey",
        "API KEY",
        "aws_access_key_id",
        "privateKey",
        "private.key",
        "credentials",
    ],
)
@pytest.mark.parametrize("value", ["hush", 1, None, ["hush"], {"a": "hush"}])
def test_secrets_are_redacted(key: str, value: object) -> None:
    assert redact({"a": [{key: value, "other": 1}]}) == {"a": [{key: "***", "other": 1}]}


def test_what_is_short_and_not_secret_stays() -> None:
    event = {"eventName": "a", "n": 1, "x": 1.5, "b": True, "none": None, "list": ["a", {}], "key": "k", "author": "x"}

    assert redact(event) == event


@pytest.mark.parametrize(
    ("data", "redacted"),
    [
        ("x" * 200, "x" * 200),
        ("x" * 203, "x" * 200 + "... 3 more"),
        ({"x" * 203: 1}, {"x" * 200 + "... 3 more": 1}),
        (list(range(20)), list(range(20))),
        (list(range(25)), [*range(20), "... 5 more"]),
        ({str(n): n for n in range(25)}, {**{str(n): n for n in range(20)}, "...": "5 more"}),
        ((1, 2), [1, 2]),
        (datetime.date(2020, 1, 2), "2020-01-02"),
        ({1: 2}, {"1": 2}),
    ],
)
def test_what_is_long_is_cut(data: object, redacted: object) -> None:
    assert redact(data) == redacted


def test_depth_is_bounded() -> None:
    deep: object = "bottom"
    for _ in range(100_000):
        deep = [deep]

    shown = redact(deep)

    for _ in range(10):
        (shown,) = shown
    assert shown == "..."


@pytest.mark.parametrize(
    ("data", "redacted"),
    [
        ({"name": "API_TOKEN", "value": "hush"}, {"name": "API_TOKEN", "value": "***"}),
        ([{"key": "db-password", "value": ["hush"]}], [{"key": "db-password", "value": "***"}]),
        ({"name": "region", "value": "eu"}, {"name": "region", "value": "eu"}),
        ("postgresql://oncall:hush@db/x and https://hush@h/y", "postgresql://***@db/x and https://***@h/y"),
        ("https://example.com/a@b", "https://example.com/a@b"),
        ("curl -H 'Authorization: Bearer hush-hush-1'", "curl -H 'Authorization: Bearer ***'"),
        ("it is eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl!", "it is ***!"),
        ("token-eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "token-***"),
        ("a.eyJa.b eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.", "a.eyJa.b ***"),
        ("x" * 195 + "https://u:hush-hush@h", "x" * 195 + "https... 16 more"),
        ({"name": ["password"], "value": 1}, {"name": ["password"], "value": 1}),
        ("GET /a?page=2&token=hush&x=1#f", "GET /a?page=2&token=***&x=1#f"),
        ("https://h/?X-Amz-Signature=hush", "https://h/?X-Amz-Signature=***"),
        ("https://h/hook?code=hush;sig=hush", "https://h/hook?code=***;sig=***"),
        ("monkey=1 key=2 code=3", "monkey=1 key=2 code=3"),
        ("DB_PASSWORD=hush SIZE=3", "DB_PASSWORD=*** SIZE=3"),
        ("Authorization: Basic aHVzaDpodXNo", "Authorization: ***"),
        ("Host: h\r\nCookie: a=hush; b=hush\r\nAccept: x", "Host: h\r\nCookie: ***\r\nAccept: x"),
        ('{"a": 1, "apiKey": "hu\\"sh", "b": "c"}', '{"a": 1, "apiKey": ***, "b": "c"}'),
        ('cut: {"password": "hus', 'cut: {"password": ***'),
    ],
)
def test_secrets_in_the_middle_of_something_are_redacted(data: object, redacted: object) -> None:
    assert redact(data) == redacted


@pytest.mark.parametrize(
    "part", ["eyJ-", "-eyJaaaaaaaa", "://a", "basic ", "a.", '"a":', "a=", "cookie:\n", '"a":"\\\\']
)
def test_hostile_texts_take_no_longer_than_others(part: str) -> None:
    text = part * (1_000_000 // len(part)) + '=":'

    assert redact_text(text).endswith(text[-1])  # else this test takes too long


def test_the_time_for_a_body_is_bounded() -> None:
    looked_at = 0

    class Counted(list[object]):
        def __getitem__(self, place: Any) -> Any:
            nonlocal looked_at
            looked_at += 1
            return super().__getitem__(place)

    redact(Counted([Counted(["a"] * 1000)] * 1000), Limits(100, 1000, 10, 50_000))

    assert looked_at < 10


def test_a_name_that_is_an_object_is_not_read_as_a_text() -> None:
    class Large(dict[str, object]):
        def __str__(self) -> str:
            raise AssertionError

    assert redact({"name": Large(a=1)}) == {"name": {"a": 1}}


def test_redact_leaves_the_original_alone() -> None:
    event = {"token": "hush", "list": list(range(25))}

    redact(event)

    assert event == {"token": "hush", "list": list(range(25))}
