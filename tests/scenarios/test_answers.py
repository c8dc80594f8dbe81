"""What a request is answered with, byte for byte the same through all edges."""

import gzip
import json
import re
import threading
from contextlib import ExitStack

import pytest

from tests.support.paths import DATA
from tests.support.servers import EDGES, serve_app
from tests.support.waiting import wait_until

EXAMPLE = (DATA / "steadybit" / "event-kit-1.json").read_bytes()
NONE_HAS_TO_AGREE_ON = {"date", "server", "connection", "request-id"}
JSON = {"Content-Type": "application/json"}


def body(**changes):
    return json.dumps({**json.loads(EXAMPLE), **changes}).encode()


REQUESTS = {
    "an event": ("POST", "/events/fine", body(id="an-event"), JSON, 200),
    "the documented example": ("POST", "/events/fine", EXAMPLE, JSON, 200),
    "an event the path does not want": ("POST", "/events/one-kind", body(), JSON, 200),
    "an event without a content type": ("POST", "/events/fine", body(id="untyped"), {}, 200),
    "an event as text": ("POST", "/events/fine", body(id="text"), {"Content-Type": "text/plain"}, 200),
    "with a query": ("POST", "/events/fine?a=b", body(id="query"), JSON, 200),
    "no body": ("POST", "/events/fine", b"", JSON, 400),
    "blanks": ("POST", "/events/fine", b"  \n ", JSON, 400),
    "not json": ("POST", "/events/fine", b"{not json", JSON, 400),
    "half of it": ("POST", "/events/fine", EXAMPLE[:-20], JSON, 400),
    "two documents": ("POST", "/events/fine", EXAMPLE + EXAMPLE, JSON, 400),
    "a list": ("POST", "/events/fine", b"[" + EXAMPLE + b"]", JSON, 400),
    "null": ("POST", "/events/fine", b"null", JSON, 400),
    "a number": ("POST", "/events/fine", b"5", JSON, 400),
    "not a number": ("POST", "/events/fine", b'{"id": NaN}', JSON, 400),
    "infinite": ("POST", "/events/fine", b'{"id": 1e999}', JSON, 400),
    "not utf-8": ("POST", "/events/fine", b'{"id": "\xff\xfe"}', JSON, 400),
    "half a surrogate": ("POST", "/events/fine", rb'{"id": "\ud800"}', JSON, 400),
    "a byte order mark": ("POST", "/events/fine", b"\xef\xbb\xbf" + EXAMPLE, JSON, 400),
    "utf-16": ("POST", "/events/fine", EXAMPLE.decode().encode("utf-16"), JSON, 400),
    "10,000 levels of lists": ("POST", "/events/fine", b"[" * 10_000 + b"]" * 10_000, JSON, 400),
    "10,000 levels of objects": ("POST", "/events/fine", b'{"a":' * 10_000 + b"1" + b"}" * 10_000, JSON, 400),
    "nothing required": ("POST", "/events/fine", b"{}", JSON, 422),
    "many problems": ("POST", "/events/fine", body(tenant="x", team=5, environment=[], id=1), JSON, 422),
    "more problems than fit": ("POST", "/events/fine", body(experimentExecution={"tags": [1] * 5000}), JSON, 422),
    "an empty name": ("POST", "/events/fine", body(eventName=""), JSON, 422),
    "a megabyte of text": ("POST", "/events/fine", body(id="mega", extra="x" * 1_000_000), JSON, 200),
    "a megabyte of id": ("POST", "/events/fine", body(id="x" * 1_000_000), JSON, 200),
    "a megabyte of name": ("POST", "/events/fine", body(id="long-name", eventName="x" * 1_000_000), JSON, 200),
    "a key twice": ("POST", "/events/fine", b'{"id": "first", ' + body(id="second")[1:], JSON, 200),
    "too large": ("POST", "/events/fine", body(extra="x" * 9_000_000), JSON, 413),
    "a function that raises": ("POST", "/events/broken", body(id="broken"), JSON, 500),
    "a function that exits": ("POST", "/events/exits", body(id="exits"), JSON, 500),
    "another method": ("PUT", "/events/fine", EXAMPLE, JSON, 405),
    "get of a listener": ("GET", "/events/fine", None, {}, 405),
    "options of a listener": ("OPTIONS", "/events/fine", None, {}, 405),
    "post to the index": ("POST", "/", EXAMPLE, JSON, 405),
    "an unknown path": ("GET", "/nonsense", None, {}, 404),
    "an event to an unknown path": ("POST", "/events/nobody", EXAMPLE, JSON, 404),
    "a slash too many": ("POST", "/events/fine/", EXAMPLE, JSON, 404),
    "the index": ("GET", "/", None, {}, 200),
    "the index, compressed": ("GET", "/", None, {"Accept-Encoding": "gzip"}, 200),
    "the index, known": ("GET", "/", None, {"If-None-Match": "*"}, 304),
    "the index, another known": ("GET", "/", None, {"If-None-Match": '"abc"'}, 200),
    "the openapi document": ("GET", "/openapi.json", None, {}, 200),
    "liveness": ("GET", "/health/liveness", None, {}, 200),
}


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    path = tmp_path_factory.mktemp("calls") / "calls"
    path.touch()
    return path


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return tmp_path_factory.mktemp("release") / "release"


@pytest.fixture(scope="module")
def servers(tmp_path_factory, calls, release):
    logs = tmp_path_factory.mktemp("logs")
    environment = {"CALLS": calls, "RELEASE": release}
    with ExitStack() as stack:
        yield {edge: stack.enter_context(serve_app("answers", logs / edge, edge=edge, **environment)) for edge in EDGES}


@pytest.fixture(params=list(EDGES))
def server(servers, request):
    return servers[request.param]


def comparable(reply):
    return reply._replace(
        headers={name: value for name, value in reply.headers.items() if name not in NONE_HAS_TO_AGREE_ON}
    )


@pytest.mark.parametrize("name", REQUESTS)
def test_all_edges_give_the_same_answer(servers, name):
    method, path, content, headers, status = REQUESTS[name]
    asgi, *others = replies = [servers[edge].request(method, path, content, headers) for edge in EDGES]
    assert asgi.status == status, asgi.body[:500]
    assert [comparable(other) for other in others] == [comparable(asgi)] * len(others)
    assert all(reply.headers["request-id"] for reply in replies)
    if status >= 400:
        assert asgi.headers["content-type"] == "application/json"
        assert set(asgi.json) <= {"title", "detail", "errors"}
        assert asgi.json["title"]


@pytest.mark.parametrize("name", [name for name, (method, *_) in REQUESTS.items() if method == "POST"])
def test_with_hooks_flask_sends_the_same_head(servers, name):
    _, path, content, _, _ = REQUESTS[name]
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nRequest-Id: a\r\nAccept-Encoding: gzip\r\n"
    request = f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content
    fast, slow = (answer_to(servers[edge], request) for edge in ("flask", "flask with hooks"))
    assert fast == slow
    assert fast.startswith(b"HTTP/1.1 ")


def answer_to(server, request):
    """All bytes of an answer but its date."""
    with server.raw() as connection:
        connection.sendall(request)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    return re.sub(rb"Date: [^\r]*\r\n", b"", answer)


def test_an_accepted_event_is_answered_with_an_empty_object(server):
    reply = server.post("/events/fine", body(id=f"plain-{server.port}"))
    assert (reply.status, reply.body, reply.headers["content-type"]) == (200, b"{}", "application/json")


def test_every_problem_is_named(server):
    reply = server.post("/events/fine", {"id": 5, "eventName": "killswitch.engaged", "tenant": [], "team": "x"})
    assert reply.status == 422
    assert {error["pointer"] for error in reply.json["errors"]} == {"/id", "/tenant", "/team"}
    assert all(error["message"] for error in reply.json["errors"])


def test_a_refusal_does_not_repeat_what_was_sent(server):
    reply = server.post("/events/fine", body(tenant="correct horse battery staple"))
    assert reply.status == 422
    assert b"horse" not in reply.body


def test_the_documents_of_refusals_are_bounded(server):
    reply = server.post("/events/fine", body(experimentExecution={"tags": [1] * 100_000}))
    assert reply.status == 422
    assert len(reply.body) < 20_000


def test_a_failing_function_is_logged_once_and_keeps_no_event_from_others(server, calls):
    reply = server.post("/events/broken", body(id=f"broken-{server.port}"))
    assert reply.status == 500
    assert reply.json == {"title": "The event listener failed", "detail": "the pager is out of order"}
    assert f"broken broken-{server.port}\nbeside broken-{server.port}\n" in calls.read_text()


def test_wrong_methods_are_told_the_right_one(server):
    assert server.request("DELETE", "/events/fine").headers["allow"] == "POST"
    assert server.request("POST", "/").headers["allow"] == "GET, HEAD"


def test_a_request_id_is_kept_where_it_is_sound(server):
    assert server.post("/events/fine", body(), {"Request-Id": "abc-123"}).headers["request-id"] == "abc-123"
    first, second = (server.post("/events/fine", body(), {"Request-Id": "a b"}).headers["request-id"] for _ in "12")
    assert first != second
    assert " " not in first
    assert server.request("GET", "/", headers={"Request-Id": "abc-456"}).headers["request-id"] == "abc-456"


def test_the_index_is_compressed_for_those_who_accept_it(server):
    plain = server.request("GET", "/")
    packed = server.request("GET", "/", headers={"Accept-Encoding": "br, gzip;q=0.5"})
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"
    assert "content-encoding" not in plain.headers
    assert gzip.decompress(packed.body) == plain.body
    assert plain.body.endswith(b"}\n")


def test_large_refusals_are_compressed_too(server):
    reply = server.post(
        "/events/fine", body(experimentExecution={"tags": [1] * 200}), {"Accept-Encoding": "gzip", "Request-Id": "z"}
    )
    assert reply.headers["content-encoding"] == "gzip"
    assert len(json.loads(gzip.decompress(reply.body))["errors"]) == 100


@pytest.mark.parametrize("form", ["{tag}", "W/{tag}", '"other", {tag}', "{bare}", "W/{bare}", '"other" ,{bare}', "*"])
def test_an_index_the_agent_knows_is_not_sent_again(server, form):
    tag = server.request("GET", "/").headers["etag"]
    assert tag.startswith('"')
    reply = server.request("GET", "/", headers={"If-None-Match": form.format(tag=tag, bare=tag.strip('"'))})
    assert (reply.status, reply.body) == (304, b"")
    assert reply.headers["etag"] == tag


def test_the_index_has_the_same_tag_everywhere(servers):
    assert len({server.request("GET", "/").headers["etag"] for server in servers.values()}) == 1


def test_head_has_no_body(server):
    reply = server.request("HEAD", "/")
    assert (reply.status, reply.body) == (200, b"")


def test_chunked_bodies_are_read(server):
    chunks = iter([body(id=f"chunked-{server.port}")[:50], body(id=f"chunked-{server.port}")[50:]])
    headers = {"Transfer-Encoding": "chunked", **JSON}
    assert server.request("POST", "/events/fine", chunks, headers, chunked=True).status == 200


def test_chunked_bodies_have_the_same_limit(server):
    chunks = (b"x" * 65536 for _ in range(140))
    headers = {"Transfer-Encoding": "chunked", **JSON}
    reply = server.request("POST", "/events/fine", chunks, headers, chunked=True)
    assert reply.status == 413
    assert "8388608 bytes" in reply.json["detail"]


class TestTheSameEventAgain:
    def test_it_is_not_run_again(self, server, calls):
        event = body(id=f"again-{server.port}")
        assert [server.post("/events/fine", event).status for _ in range(3)] == [200, 200, 200]
        assert calls.read_text().count(f"fine again-{server.port}") == 1

    def test_at_another_path_it_is(self, server, calls):
        event = body(id=f"both-{server.port}", eventName="experiment.execution.failed")
        server.post("/events/fine", event)
        server.post("/events/broken", event)
        assert f"fine both-{server.port}" in calls.read_text()
        assert f"beside both-{server.port}" in calls.read_text()

    def test_after_a_failure_it_is(self, server, calls):
        calls.write_text("")
        event = body(id=f"retry-{server.port}", eventName="experiment.execution.failed")
        assert [server.post("/events/fails-once", event).status for _ in range(3)] == [500, 200, 200]
        assert calls.read_text().count("fails-once") == 2

    def test_while_it_runs_the_answer_is_shared(self, server, calls, release):
        release.unlink(missing_ok=True)
        event = body(id=f"meanwhile-{server.port}")
        statuses = []
        threads = [
            threading.Thread(target=lambda: statuses.append(server.post("/events/waits", event).status))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        wait_until(lambda: f"meanwhile-{server.port}" in calls.read_text())
        release.touch()
        for thread in threads:
            thread.join(30)
        assert statuses == [200] * 4
        assert calls.read_text().count(f"waited meanwhile-{server.port}") == 1


class TestRequestTimeout:
    @pytest.mark.parametrize("header", ["Request-Timeout", "X-Request-Timeout"])
    def test_a_slow_function_is_answered_for_in_time(self, server, calls, release, header):
        release.unlink(missing_ok=True)
        event_id = f"slow-{header}-{server.port}"
        reply = server.post("/events/waits", body(id=event_id), {header: "0.2"})
        assert (reply.status, reply.body) == (503, b"Timeout")
        assert reply.headers["content-type"].startswith("text/plain")
        assert f"waits-limited {event_id}" in calls.read_text()
        assert f"waited {event_id}" not in calls.read_text()
        release.touch()
        wait_until(lambda: f"waited {event_id}" in calls.read_text())

    @pytest.mark.parametrize("value", ["foobar", "0", "-1", "nan", "", "1e400", "-inf"])
    def test_a_header_that_makes_no_sense_is_ignored(self, server, release, value):
        release.touch()
        headers = {"Request-Timeout": value}
        assert server.post("/events/waits", body(id=f"odd-{value}-{server.port}"), headers).status == 200

    def test_a_fast_function_is_not_disturbed_by_it(self, server):
        assert server.post("/events/fine", body(id=f"fast-{server.port}"), {"Request-Timeout": "30"}).status == 200
