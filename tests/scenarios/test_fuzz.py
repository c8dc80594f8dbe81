"""Bad input of every kind: whatever comes is answered, nothing breaks, and what comes next is served."""

import gzip
import json
import os
import re
import socket
from contextlib import ExitStack, suppress
from datetime import datetime, timedelta
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, Phase, event, example, given, settings
from hypothesis import strategies as st

from extension_kit import Event
from extension_kit.events.pending import Pending
from extension_kit.events.receive import Receiver
from extension_kit.events.request_headers import parse_timeout, request_id
from extension_kit.events.schema.validation import MAX_PROBLEMS, EventValidator
from tests.apps import reader
from tests.support import hostile
from tests.support.hostile import EVENTS, PATH, nested
from tests.support.servers import EDGES, serve_app

HEADER_SAFE = "[!-~]{1,128}"


def fuzz(examples):
    """Equal examples in every run, however slow the machine is."""
    return settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


@pytest.fixture(scope="module", params=["tolerant", "strict"])
def receiver(request):
    return Receiver(reader.extension.registry, request.param, duplicate_window=60, duplicate_limit=100)


class TestReceiving:
    @fuzz(200)
    @given(hostile.bodies)
    @example(b'{"a":' * 1023 + b"1" + b"}" * 1023)
    @example(b"[" * 1024 + b"]" * 1024)
    def test_every_body_is_answered(self, receiver, body):
        outcome = receiver.receive(receiver.routes[PATH], body, "application/json", None, lambda run: not run())
        answer = outcome.wait(0) if isinstance(outcome, Pending) else outcome
        event(f"answered {answer.status}")
        assert answer.status in (200, 400, 422)
        if answer.status == 200:
            assert answer.body == b"{}"
        else:
            assert json.loads(answer.body).keys() >= {"title", "detail"}
        if answer.status == 422:
            assert 0 < len(json.loads(answer.body)["errors"]) <= MAX_PROBLEMS
            assert len(answer.body) < 100_000

    @fuzz(300)
    @given(hostile.texts | st.text() | st.floats().map(str))
    def test_a_timeout_is_a_positive_number_of_seconds_or_none(self, value):
        timeout = parse_timeout(value)
        assert timeout is None or 0 < timeout <= 86400

    @fuzz(300)
    @given(hostile.texts | st.text())
    def test_a_request_id_fits_a_header_and_a_log_line(self, value):
        assert re.fullmatch(HEADER_SAFE, request_id(value))


DICTS = ("raw", "variables", "properties", "target_attributes")
TIMES = ("time", "prepared_time", "started_time", "ended_time")
TYPES = {
    **dict.fromkeys(DICTS, dict),
    **dict.fromkeys(TIMES, datetime | None),
    **dict.fromkeys(("is_experiment", "is_step", "is_target", "is_killswitch"), bool),
    "body": bytes,
    "tags": tuple,
    "execution_id": int | None,
    "remaining_time": float | None,
    "attempt": int,
    "duration": timedelta | None,
}


def attributes(read):
    """Name and value of every attribute that is no view."""
    for name, value in read.items():
        if isinstance(value, dict) and name not in DICTS:
            yield from attributes(value)
        else:
            yield name, value


class TestReading:
    """What tolerant validation accepts must not make an attribute raise, or be of a type that it does not declare."""

    VALIDATOR = EventValidator("tolerant")

    def check(self, body, content):
        assert self.VALIDATOR.is_valid(body), self.VALIDATOR.problems(body)
        received = Event(body, content)
        for name, value in attributes(reader.read(received)):
            assert isinstance(value, TYPES.get(name, str | None)), name
            if name == "tags":
                assert all(isinstance(tag, str) for tag in value)
            if name == "target_attributes":
                assert all(isinstance(item, str) for items in value.values() for item in items)
            if name in TIMES:
                assert value is None or value.tzinfo
        return received

    @fuzz(150)
    @given(hostile.accepted_events)
    def test_what_is_accepted_can_be_read(self, body):
        content = json.dumps(body).encode()
        self.check(orjson.loads(content), content)

    @pytest.mark.parametrize(
        "part",
        [
            {"principal": {"principalType": 5}},
            {"principal": {"principalType": ["user"], "name": {"first": "Tom"}}},
            {"principal": {"principalType": "access_token", "tokenType": 5, "id": 7}},
            {"principal": {"principalType": "user", "username": 5, "name": False, "email": []}},
            {"experimentExecution": {"executionId": 1e30, "preparedTime": "never", "variables": nested(400)}},
            {"experimentExecution": {"properties": nested(400), "x": nested(400)}},
            {"eventTime": nested(400), "tenant": nested(400)},
        ],
        ids=lambda part: str(part)[:60],
    )
    def test_what_is_odd_and_accepted_can_be_read(self, part):
        self.check({"id": "1", "eventName": "experiment.execution.failed", "tenant": {}, **part}, b"{}")

    def test_null_in_a_list_is_left_out(self):
        body = {
            "id": "1",
            "eventName": "a",
            "tenant": {},
            "experimentExecution": {"tags": [None, "a"]},
            "experimentStepTargetExecution": {
                "targetName": "n",
                "targetAttributes": {"steadybit.label": [None], "a": [None, "b"], "c": None},
            },
        }
        received = self.check(body, b"{}")
        assert received.experiment_execution.tags == ("a",)
        target = received.experiment_step_target_execution
        assert target.target_attributes == {"steadybit.label": [], "a": ["b"], "c": []}
        assert target.label == "n"


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    logs = tmp_path_factory.mktemp("logs")
    limits = {
        "EXTENSION_MAX_BODY_BYTES": hostile.MAX_BODY,
        "EXTENSION_READ_TIMEOUT": 3,
        "EXTENSION_KEEP_ALIVE": 3,
        "EXTENSION_DUPLICATE_LIMIT": 100,
    }
    with ExitStack() as stack:
        found = {edge: stack.enter_context(serve_app("reader", logs / edge, edge=edge, **limits)) for edge in EDGES}
        yield found
        for server in found.values():
            assert server.post(PATH, EVENTS[0]).status == 200
            assert "Traceback" not in server.log


class TestBodies:
    @fuzz(100)
    @given(hostile.bodies)
    def test_any_body_is_answered_alike_by_all_edges(self, servers, body):
        asgi, *others = replies = [servers[edge].post(PATH, body) for edge in EDGES]
        assert asgi.status in (200, 400, 413, 422)
        assert all((other.status, other.body) == (asgi.status, asgi.body) for other in others)
        assert all(reply.headers["content-type"] == "application/json" for reply in replies)
        assert asgi.status == 200 or asgi.json["title"]


class TestHeaders:
    @fuzz(80)
    @given(hostile.headers)
    def test_an_event_with_any_headers_is_accepted_or_out_of_time(self, servers, headers):
        for server in servers.values():
            reply = server.request("POST", PATH, json.dumps(EVENTS[1]).encode(), headers)
            accepted = reply.status == 200
            out_of_time = (reply.status, reply.body) == (503, b"Timeout")
            for_nobody = reply.status == 400 and "Host" in headers  # Flask refuses what cannot be one
            assert accepted or out_of_time or for_nobody
            self.check_request_id(headers, reply)

    @fuzz(60)
    @given(hostile.headers, st.sampled_from(["/", "/openapi.json", "/health/readiness", "/nonsense"]))
    def test_documents_are_answered_alike_by_both_edges(self, servers, headers, path):
        asgi, flask = (servers[edge].request("GET", path, headers=headers) for edge in ("asgi", "flask"))
        assert asgi.status in (200, 304, 404) or (asgi.status == 400 and "Host" in headers)
        assert (asgi.status, asgi.body) == (flask.status, flask.body)
        self.check_request_id(headers, asgi)
        self.check_request_id(headers, flask)
        if "content-encoding" in asgi.headers:
            assert re.search("gzip|[*]", headers["Accept-Encoding"], re.IGNORECASE)
            assert gzip.decompress(asgi.body).startswith(b"{")

    @staticmethod
    def check_request_id(headers, reply):
        answered, sent = reply.headers["request-id"], headers.get("Request-Id", "")
        assert re.fullmatch(HEADER_SAFE, answered)
        assert answered == sent or not re.fullmatch(HEADER_SAFE, sent)


class TestRawBytes:
    NEXT = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    ARRIVING = hostile.requests() | hostile.requests() | hostile.mutated_bytes(hostile.requests()) | st.binary()

    @pytest.mark.parametrize("edge", EDGES)
    @fuzz(15)
    @given(st.lists(ARRIVING, min_size=20, max_size=20))
    def test_whatever_arrives_is_refused_or_served(self, servers, edge, arriving):
        """Twenty at a time, because a server waits for what seems to be incomplete."""
        with ExitStack() as stack:
            connections = [stack.enter_context(servers[edge].raw()) for _ in arriving]
            for connection, data in zip(connections, arriving, strict=True):
                with suppress(OSError):  # refused before it was complete
                    connection.sendall(data + self.NEXT)
                    if edge != "asgi":  # gunicorn's threads would wait for ever
                        connection.shutdown(socket.SHUT_WR)
            for connection, data in zip(connections, arriving, strict=True):
                statuses = re.findall(rb"HTTP/1\.[01] (\d+)", self.received(connection))
                # 501 is gunicorn's answer to a transfer coding it does not know, as RFC 9112 recommends.
                assert all(status < b"500" or status == b"501" for status in statuses), (data, statuses)

    @pytest.mark.parametrize("edge", EDGES)
    @pytest.mark.parametrize(
        ("first", "body", "status"),
        [
            (b"POST /events/everything", b"5\r\n{}   \r\n0\r\n\r\n", 422),
            (b"POST /events/everything", b"5\r\n{}   \r\nzz\r\n\r\n", 400),
            (b"POST /events/everything", b"5\r\n{}   more\r\n0\r\n\r\n", 400),
            (b"POST /events/everything", b"-2\r\n{}\r\n0\r\n\r\n", 400),
            (b"POST //events/everything", b"2\r\n{}\r\n0\r\n\r\n", 422),
            (b"POST /events//everything", b"2\r\n{}\r\n0\r\n\r\n", 404),
            (b"GET /health//liveness", b"0\r\n\r\n", 404),
        ],
    )
    def test_chunks_and_paths_mean_the_same_to_both_edges(self, servers, edge, first, body, status):
        head = first + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        with servers[edge].raw() as connection:
            connection.sendall(head + body)
            assert self.received(connection).startswith(b"HTTP/1.1 %d " % status)

    @pytest.mark.parametrize("edge", ["flask", "flask with hooks"])
    def test_a_body_that_breaks_off_is_no_event(self, servers, edge):
        """Through Flask, too, where the server in front of it tells nobody; the other edge sees the client leave."""
        length = len(hostile.BODY) + 1
        with servers[edge].raw() as connection:
            connection.sendall(b"POST /events/everything HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % length)
            connection.sendall(hostile.BODY)
            connection.shutdown(socket.SHUT_WR)
            assert self.received(connection).startswith(b"HTTP/1.1 400 ")

    @staticmethod
    def received(connection):
        data = b""
        with suppress(ConnectionError):
            while part := connection.recv(65536):
                data += part
        return data


class TestMemory:
    @pytest.mark.parametrize("edge", EDGES)
    def test_a_worker_keeps_nothing_of_what_it_is_sent(self, servers, edge):
        process = servers[edge].process.pid
        (worker,) = Path(f"/proc/{process}/task/{process}/children").read_text().split()
        connection = servers[edge].connect()

        def send(method, path, body=None, **headers):
            connection.request(method, path, body, headers)
            reply = connection.getresponse()
            assert reply.status < 500
            reply.read()

        def send_all(numbers):
            for number in numbers:
                padding = f"{number}-" + "x" * 20_000
                body = {**EVENTS[number % len(EVENTS)], "id": padding, "eventName": f"a.{number}.b", padding: padding}
                send("POST", PATH, json.dumps(body))
                send("POST", PATH, json.dumps({**body, "tenant": padding}), **{"Request-Id": f"request-{number}"})
                send("POST", PATH, padding, **{"Content-Type": f"text/{padding[:200]}"})
                send("POST" if number % 50 else "BREW", f"/{padding[:200]}", padding)
                send("GET", f"/?{number}", **{f"X-{number}": padding[:500], "If-None-Match": padding[:500]})

        def resident():
            return int(Path(f"/proc/{worker}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

        send_all(range(200))
        before = resident()
        send_all(range(200, 700))
        # 500 times 20 KB would be 10 MB for each kind of request that is kept.
        assert resident() - before < 8_000_000
        connection.close()
