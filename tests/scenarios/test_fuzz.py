"""Bad input of every kind: whatever comes is answered, nothing breaks, and what comes next is served."""

import contextlib
import gzip
import json
import os
import re
import socket
from copy import deepcopy
from datetime import datetime, timedelta
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, Phase, event, example, given, settings
from hypothesis import strategies as st

from extension_kit import Event, Principal
from extension_kit.events.components import REFERENCE, event_components
from extension_kit.events.receive import Receiver, Run, parse_timeout, request_id
from extension_kit.events.validation import MAX_PROBLEMS, EventValidator
from extension_kit.testing.factory import EventFactory
from tests.apps import reader
from tests.conftest import DATA, EDGES, serve_app

PATH = "/events/everything"
MAX_BODY = 100_000
COMPONENTS = event_components("tolerant")
VALIDATOR = EventValidator("tolerant")
EVENTS = [
    *EventFactory(seed=7).events(30),
    *(json.loads(path.read_bytes()) for path in sorted((DATA / "steadybit").glob("e*.json"))),
]


def fuzz(examples):
    """Equal examples in every run, however slow the machine is."""
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
    phases = [Phase.explicit, Phase.generate, Phase.shrink]
    return settings(max_examples=examples, derandomize=True, deadline=None, phases=phases, suppress_health_check=slow)


# What senders might write

ODD_NUMBERS = [-1, 0.5, -0.0, 1e30, 1e308, 2**53 + 1, 2**63, 2**64]
ODD_TEXTS = ["", " ", "\x00", "\x1b[31m\n", "\u2028", "\ufeff", "\U0010ffff", "İ", "null", "x" * 2000]
ODD_IDS = ["042", "-1", "1e3", "٣", "1" * 18, "1" * 5000, "7\n"]
ODD_TIMES = [
    *("0001-01-01T00:00:00Z", "0000-00-00T00:00:00Z", "9999-12-31T23:59:60Z", "9999-12-31T23:59:59-23:59"),
    *("2021-02-30T00:00:00Z", "2021-09-01t12:00:60z", "2021-09-01T12:00:00+99:99", "2021-W01-1", "20210901", "12:00"),
    *("2021-09-01T12:00:00.586222005123456789Z", "2021-09-01 12:00:00", "1693569600", "٢٠٢١-09-01T12:00:00Z"),
]
BEYOND_JSON = [float("nan"), float("inf"), 10**400, "\ud800"]
KEYS = sorted({key for component in COMPONENTS.values() for key in component["properties"]} | {"", "x/~y", "\x00"})
WORDS = ["user", "USER", "access_token", "batch_job", "robot", "COMPLETED", "experiment.execution.step-failed", "*"]

texts = st.text(max_size=20) | st.sampled_from(ODD_TEXTS + ODD_IDS + ODD_TIMES + WORDS)
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(ODD_NUMBERS)
keys = st.sampled_from(KEYS) | st.text(max_size=5)


def nested(levels: int):
    value = None
    for _ in range(levels):
        value = {"a": [value]}
    return value


def values(scalars):
    return st.recursive(
        st.none() | st.booleans() | scalars | st.integers(1, 150).map(nested),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
        max_leaves=6,
    )


json_values = values(numbers | texts)
anything = values(numbers | texts | st.sampled_from(BEYOND_JSON))


def containers(value):
    """Every list and object in a JSON value that holds something."""
    if isinstance(value, dict | list) and value:
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from containers(inner)


@st.composite
def mutated_events(draw):
    """Events of agents in which some things are not what they should be."""
    body = deepcopy(draw(st.sampled_from(EVENTS)))
    for _ in range(draw(st.integers(1, 4))):
        holder = draw(st.sampled_from(list(containers(body)) or [body]))
        place = draw(st.sampled_from(list(holder) if isinstance(holder, dict) else range(len(holder))))
        match draw(st.sampled_from(["drop", "replace", "move", "add"])):
            case "drop":
                del holder[place]
            case "replace":
                holder[place] = draw(anything)
            case "move":
                other = draw(st.sampled_from(list(containers(body))))
                value = deepcopy(holder[place])
                other.append(value) if isinstance(other, list) else other.update({draw(keys): value})
            case "add":
                value = draw(anything)
                holder.append(value) if isinstance(holder, list) else holder.update({draw(keys): value})
        if not body:
            break
    return body


@st.composite
def mutated_bytes(draw, originals):
    """Bytes of which some are lost, doubled, or others."""
    data = draw(originals)
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 30)))
        middle = draw(
            st.sampled_from([b"", data[start:end] * 2, b"\x00", b'"', b"{", b"]", b"\\", b"\xff"]) | st.binary()
        )
        data = data[:start] + middle + data[end:]
    return data


@st.composite
def documents(draw):
    """Bodies: JSON in the forms that JSON may have, and some that it may not have."""
    text = json.dumps(
        draw(mutated_events() | mutated_events() | anything),
        ensure_ascii=draw(st.booleans()),
        indent=draw(st.sampled_from([None, None, 1])),
    )
    if draw(st.booleans()):
        text = text.replace("{", '{"id": "first", ', 1)  # a key twice
    return text.encode("utf-8", "surrogatepass") + b" " * draw(st.sampled_from([0, 0, 0, 0, MAX_BODY]))


bodies = st.binary(max_size=50) | mutated_bytes(documents()) | documents()


# The core


def accepted(schema):
    """What a schema accepts; the validator has to agree."""
    if reference := schema.get("$ref"):
        return accepted(COMPONENTS[reference.removeprefix(REFERENCE)])
    if "anyOf" in schema:  # the principal, of which there may be another kind
        known = [accepted(kind) for kind in schema["anyOf"][:-1]]
        named = dict.fromkeys(["id", "name", "username", "email", "tokenType"], json_values)
        kinds = st.sampled_from(["user", "access_token", "BATCH_JOB"]) | json_values
        return st.one_of(*known, st.fixed_dictionaries({"principalType": kinds}, optional=named))
    if "type" not in schema:
        return json_values
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return st.one_of(strategy for name in types for strategy in STRATEGIES[name](schema))


def accepted_objects(schema):
    required = schema.get("required", ())
    named = {key: accepted(inner) for key, inner in schema.get("properties", {}).items()}
    inner = schema.get("additionalProperties")
    values = accepted(inner) if isinstance(inner, dict) else json_values
    others = st.dictionaries(keys.filter(lambda key: key not in named), values, max_size=3)
    sparse = st.fixed_dictionaries(
        {key: named[key] for key in required}, optional={key: named[key] for key in named.keys() - required}
    )
    return [st.builds(lambda body, more: {**more, **body}, sparse, others)]


STRATEGIES = {
    "object": accepted_objects,
    "array": lambda schema: [st.lists(accepted(schema["items"]), max_size=4)],
    "string": lambda schema: [
        st.from_regex(schema["pattern"], fullmatch=True)
        if "pattern" in schema
        else texts.filter(lambda text: len(text) >= schema.get("minLength", 0))
    ],
    "integer": lambda schema: [st.integers(), st.sampled_from([5.0, -0.0, 1e30, 1e308, 2**64])],
    "null": lambda schema: [st.none()],
}


def all_values(read):
    """Name and value of every attribute that is no view."""
    for name, value in read.items():
        if isinstance(value, dict) and name not in ("raw", "variables", "properties", "target_attributes"):
            yield from all_values(value)
        else:
            yield name, value


TYPES = {
    "raw": (dict,),
    "variables": (dict,),
    "properties": (dict,),
    "target_attributes": (dict,),
    "tags": (tuple,),
    "body": (bytes,),
    "execution_id": (int, type(None)),
    "remaining_time": (float, type(None)),
    "duration": (timedelta, type(None)),
    "time": (datetime, type(None)),
    **dict.fromkeys(("prepared_time", "started_time", "ended_time"), (datetime, type(None))),
    **dict.fromkeys(("is_experiment", "is_step", "is_target", "is_killswitch"), (bool,)),
}
TEXT = (str, type(None))


@pytest.fixture(scope="module", params=["tolerant", "strict"])
def receiver(request):
    return Receiver(reader.extension.registry, request.param, 60, 100)


def receive(receiver, body):
    outcome = receiver.receive(receiver.routes[PATH], body, "application/json", None, lambda run: not run())
    return outcome.wait(0) if isinstance(outcome, Run) else outcome


class TestTheCore:
    @fuzz(600)
    @given(bodies)
    @example(b'{"a":' * 1023 + b"1" + b"}" * 1023)
    @example(b"[" * 1024 + b"]" * 1024)
    def test_every_body_is_answered(self, receiver, body):
        answer = receive(receiver, body)
        assert answer.status in (200, 400, 422)
        event(f"answered {answer.status}")
        if answer.status != 200:
            refusal = json.loads(answer.body)
            assert refusal["title"]
            assert refusal["detail"]
        if answer.status == 422:
            assert 0 < len(refusal["errors"]) <= MAX_PROBLEMS
            assert len(answer.body) < 100_000

    @fuzz(400)
    @given(accepted(COMPONENTS["EventRequestBody"]))
    def test_what_is_accepted_can_be_read(self, body):
        content = json.dumps(body).encode()
        data = orjson.loads(content)
        assert VALIDATOR.is_valid(data), VALIDATOR.problems(data)
        read = Event(data, content)
        assert len(repr(read)) < 100_000
        for name, value in all_values(reader.read(read)):
            assert isinstance(value, TYPES.get(name, TEXT)), name
            match name, value:
                case "tags", _:
                    assert all(isinstance(tag, str) for tag in value)
                case "target_attributes", _:
                    assert all(isinstance(item, str) for items in value.values() for item in items)
                case _, datetime():
                    assert value.tzinfo

    @pytest.mark.parametrize(
        "part",
        [
            {"principal": {"principalType": 5}},
            {"principal": {"principalType": ["user"], "name": {"first": "Tom"}}},
            {"principal": {"principalType": "access_token", "tokenType": 5, "id": 7}},
            {"principal": {"principalType": "user", "username": 5, "name": False, "email": []}},
            {"experimentExecution": {"executionId": "042", "tags": [None, "a"], "state": None}},
            {"experimentExecution": {"executionId": 1e30, "preparedTime": "never", "variables": nested(400)}},
            {"experimentStepTargetExecution": {"targetAttributes": {"steadybit.label": [None], "a": None}}},
            {"eventTime": nested(400)},
            {"tenant": nested(400)},
        ],
        ids=lambda part: str(part)[:70],
    )
    def test_oddities_that_are_let_pass_can_be_read(self, part):
        body = {"id": "1", "eventName": "experiment.execution.failed", "tenant": {}, **part}
        assert VALIDATOR.is_valid(body)
        read = Event(body, orjson.dumps({"id": "1"}))
        reader.read(read)
        if read.principal:
            assert isinstance(read.principal, Principal)
            assert isinstance(read.principal.display_name, TEXT)
        if read.experiment_execution:
            assert read.experiment_execution.tags in ((), ("a",))
            assert read.experiment_execution.execution_id in (42, int(1e30))
        if read.experiment_step_target_execution:
            assert read.experiment_step_target_execution.label is None
            assert read.experiment_step_target_execution.target_attributes == {"steadybit.label": [], "a": []}

    @fuzz(300)
    @given(st.text() | st.sampled_from(ODD_TEXTS + ODD_IDS) | st.floats().map(str))
    def test_a_timeout_is_a_positive_number_of_seconds_or_none(self, value):
        timeout = parse_timeout(value)
        assert timeout is None or 0 < timeout <= 86400

    @fuzz(300)
    @given(st.text())
    def test_a_request_id_fits_a_header_and_a_log_line(self, value):
        assert re.fullmatch("[!-~]{1,128}", request_id(value))


# The servers


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    logs = tmp_path_factory.mktemp("logs")
    limits = {
        "EXTENSION_MAX_BODY_BYTES": MAX_BODY,
        "EXTENSION_READ_TIMEOUT": 3,
        "EXTENSION_KEEP_ALIVE": 3,
        "EXTENSION_DUPLICATE_LIMIT": 100,
    }
    with (
        serve_app("reader", logs / "asgi", edge="asgi", **limits) as asgi,
        serve_app("reader", logs / "flask", edge="flask", **limits) as flask,
    ):
        yield {"asgi": asgi, "flask": flask}


@pytest.fixture(params=list(EDGES))
def server(servers, request):
    return servers[request.param]


def is_unharmed(server):
    assert server.post(PATH, EVENTS[0]).status == 200
    assert server.request("GET", "/").status == 200
    assert "Traceback" not in server.log
    return True


class TestBodies:
    @fuzz(250)
    @given(bodies)
    def test_any_body_is_answered_alike_by_both_edges(self, servers, body):
        asgi, flask = (servers[edge].post(PATH, body) for edge in EDGES)
        assert asgi.status in (200, 400, 413, 422)
        assert (asgi.status, asgi.body) == (flask.status, flask.body)
        assert asgi.headers["content-type"] == flask.headers["content-type"] == "application/json"
        assert asgi.status == 200 or asgi.json["title"]

    def test_they_do_no_harm(self, server):
        assert is_unharmed(server)


# What a header may hold: visible characters, blanks and bytes beyond ASCII. Others are refused before they get here.
field_values = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=40)


def header(*likely):
    parts = st.sampled_from([*likely, *(value.upper() for value in likely), ",", ";", "=", " ", '"', "x" * 300])
    return field_values | st.lists(parts, max_size=4).map("".join) | st.sampled_from(likely)


seconds = st.floats(1e-9, 1e9).map(repr) | header("1e-9", "5", "0x5", "1_0", "inf", "nan", "-1", "1e999", "9" * 200)
HEADERS = {
    "Request-Timeout": seconds,
    "X-Request-Timeout": seconds,
    "Content-Type": header("application/json", "text/plain", "charset=utf-16", "multipart/form-data", "boundary"),
    "Content-Encoding": header("gzip", "br"),
    "Accept-Encoding": header("gzip", "br", "*", ";q=0", ";q=1.5", ";q=", "identity"),
    "Accept": header("text/html", "*/*", ";q=0"),
    "If-None-Match": header('"abc"', "W/", "*", "\\"),
    "Request-Id": header("abc-123", "x" * 128, "\xff"),
    "Authorization": header("Basic", "Bearer", "YWdlbnQ6eA==", "===", "Digest username="),
    "Cookie": header("a=b", "session="),
    "Range": header("bytes=0-1", "bytes=5-1", "bytes=-"),
    "Host": header("localhost", "[::1", ":99999", "a/b", "@"),
    "X-Forwarded-Host": header("a", "/"),
}
headers = st.dictionaries(st.sampled_from(sorted(HEADERS)), st.none(), max_size=5).flatmap(
    lambda names: st.fixed_dictionaries({name: HEADERS[name] for name in names})
)


class TestHeaders:
    @fuzz(120)
    @given(headers)
    def test_an_event_with_any_headers_is_accepted_or_out_of_time(self, servers, headers):
        for server in servers.values():
            reply = server.request("POST", PATH, json.dumps(EVENTS[1]).encode(), headers)
            assert reply.status == 200 or (reply.status, reply.body) == (503, b"Timeout")
            self.check_request_id(headers, reply)

    @fuzz(60)
    @given(headers, st.sampled_from(["/", "/openapi.json", "/health/readiness", "/nonsense"]))
    def test_documents_are_answered_alike_by_both_edges(self, servers, headers, path):
        asgi, flask = (servers[edge].request("GET", path, headers=headers) for edge in EDGES)
        assert asgi.status in (200, 304, 404)
        assert (asgi.status, asgi.body) == (flask.status, flask.body)
        self.check_request_id(headers, asgi)
        if asgi.headers.get("content-encoding") == "gzip":
            assert gzip.decompress(asgi.body).startswith(b"{")
            assert "gzip" in headers["Accept-Encoding"].lower() or "*" in headers["Accept-Encoding"]

    @staticmethod
    def check_request_id(headers, reply):
        answered = reply.headers["request-id"]
        assert re.fullmatch("[!-~]{1,128}", answered)
        if re.fullmatch("[!-~]{1,128}", sent := headers.get("Request-Id", "")):
            assert answered == sent

    def test_they_do_no_harm(self, server):
        assert is_unharmed(server)


BODY = json.dumps(EVENTS[2]).encode()
METHODS = [b"GET", b"HEAD", b"PUT", b"OPTIONS", b"TRACE", b"CONNECT", b"PRI", b"BREW", b"post", b"P@ST", b""]
TARGETS = [
    *(
        b"/",
        b"*",
        b"",
        b"//",
        b"/%00",
        b"/%",
        b"/%zz",
        b"/%ff%fe",
        b"/..",
        b"/\x80",
        b"/\x7f",
        b"/a\tb",
        b"?",
        b"#",
        b":",
    ),
    *(b"//events/everything", b"/events//everything", b"/events/everything/", b"/events/%65verything"),
    *(b"/events%2Feverything", b"/events/everything?a=%", b"/events/everything#a", b"/events/everything;a"),
    *(b"/x/../events/everything", b"/nonsense", b"/openapi.json", b"/health/liveness", b"/" + b"a" * 5000),
    *(
        b"http://a",
        b"http://a/",
        b"http://a/events/everything",
        b"http://[::1/",
        b"http://a:99999/",
        b"https://",
        b"a:80",
    ),
]
VERSIONS = [b"HTTP/1.0", b"HTTP/2.0", b"HTTP/0.9", b"HTTP/9.9", b"HTTP/1.12", b"http/1.1", b"", b"HTTP/"]
SIZES = [b"", b"-1", b"+5", b"0x5", b"5, 5", b"5 5", b"1_0", b"1e3", b"9" * 30, b"f" * 16, b"\xb2", b"00000000005"]
LINES = [
    *(b"Content-Length: " + size for size in SIZES),
    *(b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: identity"),
    *(
        b"Expect: 100-continue",
        b"Expect: more",
        b"Connection: close, keep-alive",
        b"Connection: TE",
        b"Host: b",
        b"Host:",
    ),
    *(
        b"Upgrade: h2c\r\nConnection: upgrade",
        b"Upgrade: websocket\r\nConnection: upgrade",
        b"Upgrade: x",
        b"Trailer: Host",
    ),
    *(
        b"A: b\r\n c",
        b" A: b",
        b"A : b",
        b": b",
        b"A",
        b"A: \x00",
        b"A: b\rc",
        b"A\xff: b",
        b"A: " + b"b" * 9000,
        b"A:",
    ),
]


def usually(usual, others):
    return st.one_of(st.just(usual), st.just(usual), st.just(usual), st.sampled_from(others))


@st.composite
def requests(draw):
    """HTTP requests that are almost right."""
    if draw(st.booleans()):
        frame, body = b"Content-Length: %d" % len(BODY), BODY
    else:
        sizes = [draw(usually(b"%x" % len(piece), SIZES)) for piece in (BODY[:300], BODY[300:], b"")]
        extension, trailer = (
            draw(usually(b"", [b";a=b", b";", b" "])),
            draw(usually(b"", [b"A: b\r\n", b"A\r\n", b"\r\n"])),
        )
        pieces = zip(sizes, (BODY[:300] + b"\r\n", BODY[300:] + b"\r\n", trailer + b"\r\n"), strict=True)
        frame, body = (
            b"Transfer-Encoding: chunked",
            b"".join(b"%s%s\r\n%s" % (size, extension, piece) for size, piece in pieces),
        )
    first = b" ".join(
        draw(usually(*part)) for part in ((b"POST", METHODS), (PATH.encode(), TARGETS), (b"HTTP/1.1", VERSIONS))
    )
    lines = draw(st.permutations([frame, b"Host: a", *draw(st.lists(st.sampled_from(LINES), max_size=2))]))
    return draw(usually(b"\r\n", [b"\n", b"\r", b"\r\n "])).join([first, *lines, b"", body])


class TestRawBytes:
    NEXT = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

    @pytest.mark.parametrize("edge", EDGES)
    @fuzz(15)
    @given(
        st.lists(requests() | requests() | mutated_bytes(requests()) | st.binary(max_size=50), min_size=20, max_size=20)
    )
    def test_whatever_arrives_is_refused_or_served(self, servers, edge, arriving):
        """Together, because a server waits for what seems to be incomplete."""
        with contextlib.ExitStack() as stack:
            connections = [stack.enter_context(servers[edge].raw()) for _ in arriving]
            for connection, data in zip(connections, arriving, strict=True):
                self.send(connection, data + self.NEXT)
                if edge == "flask":  # gunicorn's threads never stop waiting
                    connection.shutdown(socket.SHUT_WR)
            for connection, data in zip(connections, arriving, strict=True):
                statuses = re.findall(rb"HTTP/1\.[01] (\d+)", self.read_all(connection))
                # What gunicorn says to a transfer coding it does not know, as RFC 9112 recommends
                assert all(status < b"500" or status == b"501" for status in statuses), (data, statuses)

    @staticmethod
    def send(connection, data):
        with contextlib.suppress(ConnectionError):  # it may have been refused before it was complete
            connection.sendall(data)

    @staticmethod
    def read_all(connection):
        received = b""
        with contextlib.suppress(ConnectionError):
            while part := connection.recv(65536):
                received += part
        return received

    def test_they_do_no_harm(self, server):
        assert is_unharmed(server)


class TestMemory:
    def test_a_worker_keeps_nothing_of_what_it_is_sent(self, server):
        (worker,) = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
        connection = server.connect()

        def send(method, path, body=None, **headers):
            connection.request(method, path, body, headers)
            reply = connection.getresponse()
            assert reply.read() or method == "HEAD"
            assert reply.status < 500

        def send_all(numbers):
            for number in numbers:
                padding = f"{number}-" + "x" * 20_000
                event = {**EVENTS[number % len(EVENTS)], "id": padding, "eventName": f"a.{number}.b", padding: padding}
                send("POST", PATH, json.dumps(event))
                send("POST", PATH, json.dumps({**event, "tenant": padding}), **{"Request-Id": f"request-{number}"})
                send("POST", PATH, padding, **{"Content-Type": f"text/{padding[:200]}"})
                send("BREW" if number % 50 else "POST", f"/{padding[:200]}", padding)
                send("GET", f"/?{number}", **{f"X-{number}": padding[:500], "If-None-Match": padding[:500]})

        def resident():
            return int(Path(f"/proc/{worker}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

        send_all(range(200))
        before = resident()
        send_all(range(200, 700))
        connection.close()
        # 500 times 20 KB would be 10 MB for each kind of request whose body is kept.
        assert resident() - before < 8_000_000
        assert is_unharmed(server)
