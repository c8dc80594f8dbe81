"""The same request gets the same bytes from a server of the kit and from a WSGI server."""

import json
import re
from contextlib import contextmanager

import pytest

from tests.extensions.eventhos.served import EVENTHOS, VARIABLES
from tests.support.paths import BIN, KIT
from tests.support.servers import listens, run_server
from tests.support.waiting import wait_until

GUNICORN = [
    str(BIN / "gunicorn"), "--bind", "127.0.0.1:{port}", "--worker-class", "gthread", "--threads", "4",
    "--no-control-socket",
    f"extension_kit.wsgi:create_app('{EVENTHOS}')",
]  # fmt: skip
EDGES = {"serve": [KIT, "serve", "--no-worker", EVENTHOS], "gunicorn": GUNICORN}
MOST, MOST_OF_EVENTHOS = 40_000, 30_000


@contextmanager
def serving(edge, url, log, profile):
    limits = {"EXTENSION_MAX_BODY_BYTES": MOST, "EXTENSION_EVENTHOS_MAX_BODY_BYTES": MOST_OF_EVENTHOS}
    variables = {**VARIABLES, **limits, "EXTENSION_EVENTHOS_PROFILE": profile, "EXTENSION_DATABASE_URL": url}
    with run_server(EDGES[edge], log, **variables) as server:
        wait_until(lambda: listens(server))
        yield server


def requests(world, other):
    """Requests by name, each with its expected statuses: of the documented profile, and of upstream's."""
    there = f"/event/send?event-identifier={world.identifier}"
    key = {"access-key": world.key}
    return {
        "good": (("POST", there, {"a": 1}, key), (200, 200)),
        "key in the query": (("POST", f"{there}&access-key={world.key}", {"a": 1}, {}), (200, 200)),
        "escaped": (("POST", there.replace("new-", "new%2D"), [1], key), (200, 200)),
        "slash at the end": (("POST", there.replace("send?", "send/?"), {}, key), (200, 200)),
        "repeated header": (("POST", there, {}, {**key, "X-Trace": "\xe4, b"}), (200, 200)),
        "without a contract": (("POST", there.replace(world.identifier, other), {}, key), (200, 203)),
        "no body": (("POST", there, None, key), (200, 200)),
        "large": (("POST", there, "x" * 20_000, key), (200, 200)),
        "compressed if it were long": (("POST", there, {}, {**key, "Accept-Encoding": "gzip"}), (200, 200)),
        "wrong key": (("POST", there, {}, {"access-key": "wrong"}), (401, 401)),
        "wrong token": (("POST", there, {}, {"access-key": "a.b.c"}), (401, 401)),
        "unknown event": (("POST", there + "x", {}, key), (400, 400)),
        "zero byte": (("POST", there + "%00", {}, key), (400, 400)),
        "not JSON": (("POST", there, b"{", key), (400, 400)),
        "large, not JSON": (("POST", there, b"[" * 20_000, key), (400, 400)),
        "too large for eventhos": (("POST", there, "x" * 35_000, key), (413, 413)),
        "too large for the kit": (("POST", there, "x" * 45_000, key), (413, 413)),
        "no query": (("POST", "/event/send", {}, key), (400, 400)),
        "no key": (("POST", there, {}, {}), (400, 400)),
        "idempotency key": (("POST", there, {}, {**key, "Idempotency-Key": "x" * 256}), (400, 400)),
        "GET": (("GET", there, None, key), (405, 405)),
        "HEAD": (("HEAD", there, None, key), (405, 405)),
        "OPTIONS": (("OPTIONS", there, None, key), (405, 405)),
        "unknown path": (("POST", "/event/sent", {}, key), (404, 404)),
    }


def ask(server, method, path, body, headers):
    """Return status, headers and body of an answer, without those that differ from request to request."""
    sent = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    reply = server.request(method, path, sent, {"Content-Type": "application/json", **headers})
    assert reply.headers["request-id"]
    kept = {
        name: value
        for name, value in reply.headers.items()
        if name in ("allow", "content-type", "content-length", "content-encoding", "retry-after", "vary")
    }
    text = re.sub(rb'"errorUUID":"[0-9a-f-]{36}"', b'"errorUUID":""', reply.body)
    return reply.status, kept, text


@pytest.mark.parametrize("profile", ["documented", "upstream"])
def test_both_edges_answer_and_keep_the_same(database, world, profile, tmp_path):
    world.add_contract("http://localhost/")
    world.add_event(other := f"{world.identifier}-without")
    wanted = requests(world, other)
    url = database.url.render_as_string(hide_password=False).replace("+psycopg", "")
    answers, kept = {}, {}
    for edge in EDGES:
        before = {row["id"] for row in world.log()}
        with serving(edge, url, tmp_path / f"{edge}.log", profile) as server:
            answers[edge] = {name: ask(server, *request) for name, (request, _) in wanted.items()}
        rows = sorted(row["id"] for row in world.log() if row["id"] not in before)
        contents = [world.api.ask("GET", f"/event/received/{id}")["content"]["receivedEvent"] for id in rows]
        kept[edge] = [content["received_request"] for content in contents]
        for request in kept[edge]:
            del request["headers"]["host"]
    assert answers["serve"] == answers["gunicorn"]
    assert kept["serve"] == kept["gunicorn"]
    statuses = {name: answer[0] for name, answer in answers["serve"].items()}
    assert statuses == {name: expected[profile == "upstream"] for name, (_, expected) in wanted.items()}
    assert len(kept["serve"]) == sum(status < 300 for status in statuses.values())


FRAMES = {
    "chunked": ("Transfer-Encoding: chunked", b"1\r\n{\r\n1;a=b\r\n}\r\n0\r\n\r\n", 200),
    "trailers": (
        "Transfer-Encoding: chunked",
        b"2\r\n{}\r\n0\r\naccess-key: x\r\nIdempotency-Key: x\r\nX-Late: x\r\n\r\n",
        200,
    ),
    "two lengths": ("Content-Length: 2\r\nContent-Length: 2", b"{}", 400),
    "two different lengths": ("Content-Length: 2\r\nContent-Length: 20", b"{}", 400),
    "a list of lengths": ("Content-Length: 2, 2", b"{}", 400),
    "a signed length": ("Content-Length: +2", b"{}", 400),
    "a length in a name with an underscore": ("Content_Length: 9\r\nContent-Length: 2", b"{}", 200),
    "length, then chunked": ("Content-Length: 2\r\nTransfer-Encoding: chunked", b"2\r\n{}\r\n0\r\n\r\n", 400),
    "chunked, then length": ("Transfer-Encoding: chunked\r\nContent-Length: 2", b"2\r\n{}\r\n0\r\n\r\n", 400),
    "both behind an offer": (
        "Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\nTransfer-Encoding: chunked",
        b"2\r\n{}\r\n0\r\n\r\n",
        400,
    ),
    "an offer": ("Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 2", b"{}", 200),
    "chunked twice": ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", b"2\r\n{}\r\n0\r\n\r\n", 400),
    "packed": ("Transfer-Encoding: gzip, chunked", b"2\r\n{}\r\n0\r\n\r\n", 400),
    "identity": ("Transfer-Encoding: identity", b"{}", 400),
    "too many headers": ("Content-Length: 2" + "\r\nX-A: b" * 200, b"{}", 431),
    "too large a head": ("Content-Length: 2\r\nX-A: " + "b" * 200_000, b"{}", 431),
    "much, and chunked": ("Transfer-Encoding: chunked", b"9c40\r\n" + b" " * 40_000 + b"\r\n1\r\n \r\n0\r\n\r\n", 413),
}
"""Frames of bodies by name: lines of the head, bytes behind it, and the status of the answer."""


def test_a_body_has_one_frame(database, world, tmp_path):
    url = database.url.render_as_string(hide_password=False).replace("+psycopg", "")
    head = f"POST /event/send?event-identifier={world.identifier} HTTP/1.1\r\nHost: x\r\naccess-key: {world.key}\r\n"
    statuses = {}
    with serving("serve", url, tmp_path / "server.log", "documented") as server:
        for name, (lines, body, _) in FRAMES.items():
            with server.raw() as connection:
                connection.sendall(f"{head}{lines}\r\n\r\n".encode() + body)
                statuses[name] = int(connection.recv(65536).split()[1])
        for size, answers in ((b"2", [100, 200]), (b"50000000", [413])):  # nobody waits for what is too large
            with server.raw() as connection, connection.makefile("rb") as answer:
                connection.sendall(head.encode() + b"Expect: 100-continue\r\nContent-Length: %b\r\n\r\n" % size)
                for status in answers:
                    assert int(answer.readline().split()[1]) == status
                    if status == 100:
                        assert answer.readline() == b"\r\n"
                        connection.sendall(b"{}")
    assert statuses == {name: status for name, (_, _, status) in FRAMES.items()}
    stored = [world.request(row["id"]) for row in world.log()]
    assert len(stored) == sum(status == 200 for status in statuses.values()) + 1
    assert all(request["body"] == {} and "x-late" not in request["headers"] for request in stored)


def test_pipelined_requests_are_answered_in_order(database, world, tmp_path):
    world.add_contract("http://localhost/")
    url = database.url.render_as_string(hide_password=False).replace("+psycopg", "")
    with serving("serve", url, tmp_path / "server.log", "documented") as server, server.raw() as connection:
        sent = []
        for number in range(20):
            key = "wrong" if number % 3 == 0 else world.key
            head = f"POST /event/send?event-identifier={world.identifier} HTTP/1.1\r\nHost: x\r\naccess-key: {key}\r\n"
            end = "Connection: close\r\n" if number == 19 else ""
            sent.append(f"{head}{end}Content-Length: 9\r\nRequest-Id: r-{number}\r\n\r\n" + f'{{"n":{number:3d}}}')
        connection.sendall("".join(sent).encode())
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    answered = [
        (int(status), int(number)) for status, number in re.findall(rb"HTTP/1.1 (\d+).*?r-(\d+)", received, re.S)
    ]
    assert answered == [(401 if number % 3 == 0 else 200, number) for number in range(20)]
    rows = sorted(world.log(), key=lambda row: row["id"])
    bodies = [world.api.ask("GET", f"/event/received/{row['id']}")["content"]["receivedEvent"] for row in rows]
    assert [body["received_request"]["body"]["n"] for body in bodies] == [n for n in range(20) if n % 3]
