"""Requests of grouped routes: written together, each answered for itself, the same on both edges."""

import asyncio
import json
import threading
from dataclasses import dataclass

import pytest
from flask import Blueprint, Response, has_request_context
from opentelemetry.trace import SpanKind, StatusCode
from sqlalchemy import Column, Integer, MetaData, String, Table, insert, select
from werkzeug.exceptions import HTTPException

from extension_kit import Extension, RegistrationError
from extension_kit.errors import StoreError, StoreUnavailable
from extension_kit.protocol import EventProtocol, GroupedRoute, RouteAnswer, Routes
from extension_kit.runtime.service import Service
from extension_kit.server.asgi import AsgiApplication
from extension_kit.server.in_flight import SMALL
from extension_kit.settings.kit import Settings
from extension_kit.web.app import create_app
from extension_kit.web.peer_certificate import PEER_CERTIFICATE, peer_certificate
from tests.support.spans import HEADERS, context_of, exporter

__all__ = ["exporter"]  # a fixture

words = Table(
    "echo_words", MetaData(), Column("id", Integer, primary_key=True), Column("word", String(2**20), unique=True)
)


@dataclass(frozen=True)
class NoSettings:
    pass


class Odd(Exception):
    pass


class Teapot(HTTPException):
    code = 418


def complain(error):
    code = error.code if isinstance(error, HTTPException) else 503 if isinstance(error, StoreError) else 500
    return Response(f"echo: {code} {type(error).__name__}", code, mimetype="text/plain")


class Echo:
    """A protocol that keeps words; some words make trouble.

    Attributes:
        groups: the words of each call of ``write``.
        threads: the names of the threads that have parsed.
        by_flask: True for each call of ``parse`` in a request of Flask.
        trace_contexts: of the requests that were parsed.
        gate: ``write`` waits for it.
    """

    def __init__(self):
        self.groups = []
        self.threads = set()
        self.by_flask = []
        self.trace_contexts = []
        self.gate = threading.Event()
        self.gate.set()

    def routes(self, kit, settings):
        route = GroupedRoute(
            "POST", "/echo/words", self.parse, self.write, self.admit, endpoint="echo.words", is_slow=self.is_slow
        )
        strict = GroupedRoute("POST", "/echo/strict", self.parse, self.write, takes_slash=False)
        return Routes(Blueprint("echo", __name__), ("/echo",), complain, grouped=(route, strict))

    def admit(self, request):
        assert request.body == b""
        match request.query().get("who"):
            case "nobody":
                return RouteAnswer(401, b"who?", "text/plain")
            case "tea":
                raise Teapot
        return None

    def is_slow(self, request):
        assert request.body == b""
        return "slow" in request.query()

    def parse(self, request):
        self.threads.add(threading.current_thread().name)
        self.trace_contexts.append(request.trace_context)
        self.by_flask.append(has_request_context())
        word = json.loads(request.body)
        if word == "odd":
            raise Odd
        if word == "tea":
            raise Teapot
        if word == "address":
            return RouteAnswer(200, str(request.connection.get("REMOTE_ADDR")).encode(), "text/plain")
        if word == "certificate":
            return RouteAnswer(200, f"{peer_certificate(request.connection)}".encode(), "text/plain")
        if word == "quick":
            return RouteAnswer(202, b"quick", "text/plain", (("X-Quick", "yes"),))
        return f"{word}{request.query().get('more', '')}"

    def write(self, transaction, found):
        self.groups.append(list(found))
        assert self.gate.wait(30)
        if "away" in found:
            raise StoreUnavailable("The database is away")
        for word in found:
            if word != "refused":
                transaction.connection.execute(insert(words).values(word=word))
        answers = [Teapot() if word == "refused" else RouteAnswer(200, word.encode(), "text/plain") for word in found]
        return answers[: -1 if "short" in found else None]


@pytest.fixture
def echo():
    return Echo()


@pytest.fixture
def make(echo, tmp_path):
    """Make a service of the protocol, with settings."""
    made = []

    def make(**settings):
        extension = Extension("extension-echo")
        extension.add_protocol(EventProtocol("echo", NoSettings, echo.routes, names=("echo.*",)))
        settings = {"max_body_bytes": 100_000, **settings}
        service = Service.of([extension], Settings(database_url=f"sqlite:///{tmp_path}/extension.db", **settings))
        made.append(service.open())
        with service.runtime.database.transaction() as connection:
            words.create(connection, checkfirst=True)
        return service

    yield make
    for service in made:
        service.runtime.close(5)


def stored(service):
    with service.runtime.database.read() as connection:
        return sorted(connection.execute(select(words.c.word)).scalars())


def by_flask(service, *bodies, query="", method="POST", path="/echo/words", headers=None):
    """Send bodies one after the other, and return status and text of each answer."""
    return by_client(create_app(service, embed_worker=False), bodies, query, method, path, headers)


def by_flask_with_hooks(service, *bodies, query="", method="POST", path="/echo/words", headers=None):
    """Do the same where Flask answers, too, what the fast path would."""
    app = create_app(service, embed_worker=False)
    app.before_request(lambda: None)
    return by_client(app, bodies, query, method, path, headers)


def by_client(app, bodies, query, method, path, headers):
    client = app.test_client()
    answers = [client.open(f"{path}{query}", method=method, data=body, headers=headers) for body in bodies]
    assert all(answer.headers["Request-Id"] for answer in answers)
    return [(answer.status_code, answer.content_type, answer.text) for answer in answers]


def by_asgi(service, *bodies, query="", method="POST", path="/echo/words", headers=None, **scope):
    """Send bodies at the same time, and return status and text of each answer."""
    application = AsgiApplication(service)

    async def ask(body):
        parts, sent = [{"type": "http.request", "body": body, "more_body": False}], []

        async def receive():
            return parts.pop() if parts else {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)

        sent_headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]
        sent_headers += [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
        asked = {"type": "http", "method": method, "path": path, "headers": sent_headers, "http_version": "1.1"}
        asked |= {"query_string": query.lstrip("?").encode(), "client": ("127.0.0.1", 1), **scope}
        await application(asked, receive, send)
        found = dict(sent[0]["headers"])
        assert found[b"request-id"]
        text = b"".join(message["body"] for message in sent[1:]).decode()
        return sent[0]["status"], found[b"content-type"].decode(), text

    async def run():
        lifespan, ended = [{"type": "lifespan.startup"}], asyncio.Event()

        async def receive():
            if not lifespan:
                await ended.wait()
                return {"type": "lifespan.shutdown"}
            return lifespan.pop()

        async def send(message):
            if message["type"] == "lifespan.startup.complete":
                started.set()

        started = asyncio.Event()
        living = asyncio.create_task(application({"type": "lifespan"}, receive, send))
        await started.wait()
        answers = await asyncio.wait_for(asyncio.gather(*map(ask, bodies)), 30)
        ended.set()
        await living
        return answers

    return asyncio.run(run())


@pytest.fixture(params=[by_flask, by_flask_with_hooks, by_asgi])
def send(request):
    return request.param


TEXT = "text/plain; charset=utf-8"


class TestTraces:
    """Each request has a span, which what is made of it continues."""

    @pytest.mark.parametrize(("word", "status"), [("one", 200), ("quick", 202), ("odd", 500), ("refused", 418)])
    def test_a_request_is_in_the_trace_of_its_sender(self, make, echo, send, exporter, word, status):
        ((answered, *_),) = send(make(), json.dumps(word).encode(), headers=HEADERS)
        (span,) = exporter.get_finished_spans()
        assert echo.trace_contexts == [context_of(span)]
        assert (span.name, span.kind) == ("POST /echo/words", SpanKind.SERVER)
        assert answered == span.attributes["http.response.status_code"] == status
        assert (span.status.status_code is StatusCode.ERROR) == (status == 500)

    def test_a_request_without_a_trace_begins_one(self, make, echo, send, exporter):
        send(make(), b'"one"')
        (span,) = exporter.get_finished_spans()
        assert span.parent is None
        (context,) = echo.trace_contexts
        assert context.startswith(f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-")

    def test_without_tracing_there_is_nothing(self, make, echo, send):
        send(make(), b'"one"', headers=HEADERS)
        assert echo.trace_contexts == [""]

    def test_other_views_of_a_protocol_have_spans_named_by_their_rules(self, echo, make, exporter, monkeypatch):
        routes = echo.routes

        def with_a_view(kit, settings):
            made = routes(kit, settings)

            @made.blueprint.get("/echo/words/<word>")
            def show(word):
                if word == "odd":
                    raise Odd
                return word

            return made

        monkeypatch.setattr(echo, "routes", with_a_view)
        client = create_app(make(), embed_worker=False).test_client()
        assert [client.get(f"/echo/words/{word}", headers=HEADERS).status_code for word in ("hush", "odd")] == [
            200,
            500,
        ]
        spans = exporter.get_finished_spans()
        assert [(span.name, span.attributes["http.response.status_code"]) for span in spans] == [
            ("GET /echo/words/<word>", 200),
            ("GET /echo/words/<word>", 500),
        ]
        assert "hush" not in "".join(span.to_json() for span in spans)


class TestAnswers:
    """Each request has its own answer, in the form of the protocol."""

    @pytest.mark.parametrize(
        ("word", "status", "text"),
        [
            ("hello", 200, "hello"),
            ("quick", 202, "quick"),
            ("odd", 500, "echo: 500 Odd"),
            ("tea", 418, "echo: 418 Teapot"),
            ("refused", 418, "echo: 418 Teapot"),
            ("away", 503, "echo: 503 StoreUnavailable"),
            ("short", 500, "echo: 500 RuntimeError"),
            ("x" * 200_000, 413, "echo: 413 RequestEntityTooLarge"),
        ],
    )
    def test_of_each_kind(self, make, send, word, status, text):
        service = make()
        ((code, kind, found),) = send(service, json.dumps(word).encode())
        assert (code, found) == (status, text)
        assert kind == ("text/plain" if status in (200, 202) else TEXT)
        assert stored(service) == (["hello"] if word == "hello" else [])

    def test_skip_flask_where_it_has_no_hooks(self, make, echo):
        for way in (by_flask, by_flask_with_hooks, by_asgi):
            way(make(), b'"hello"')
        assert echo.by_flask == [False, True, False]

    def test_what_is_no_item_at_all(self, make, send):
        assert send(make(), b"{")[0][::2] == (500, "echo: 500 JSONDecodeError")

    @pytest.mark.parametrize(
        ("query", "status", "text"),
        [
            ("?who=anna", 413, "echo: 413 RequestEntityTooLarge"),
            ("?who=nobody", 401, "who?"),
            ("?who=tea", 418, "echo: 418 Teapot"),
        ],
    )
    def test_a_body_that_is_too_large_and_the_head_before_it(self, make, send, query, status, text):
        assert send(make(), b"x" * 200_000, query=query)[0][::2] == (status, text)

    def test_the_view_has_its_own_name(self, make):
        rules = create_app(make(), embed_worker=False).url_map.iter_rules()
        assert [rule.endpoint for rule in rules if rule.rule == "/echo/words"] == ["echo.words"]

    def test_the_query_is_decoded(self, make, send):
        assert send(make(), b'"a"', query="?more=%C3%A4%ff&more=b")[0][::2] == (200, "a\xe4\ufffd")

    @pytest.mark.parametrize("method", ["GET", "PUT", "OPTIONS"])
    def test_other_methods_are_answered_by_the_protocol(self, make, send, method):
        assert send(make(), b"", method=method)[0] == (405, TEXT, "echo: 405 MethodNotAllowed")

    def test_errors_are_logged_once_with_their_reason(self, make, send, caplog):
        send(make(), b'"odd"', b'"tea"', b'"refused"')
        assert [record.getMessage() for record in caplog.records] == ["POST /echo/words failed"]

    @pytest.mark.parametrize(("path", "status"), [("/echo/words/", 200), ("/echo/strict", 200), ("/echo/strict/", 404)])
    def test_a_slash_at_the_end_makes_no_difference_unless_the_route_says_so(self, make, send, path, status):
        assert send(make(), b'"a"', path=path)[0][0] == status

    def test_the_address_of_the_client_is_known(self, make, send):
        assert send(make(), b'"address"')[0][2] == "127.0.0.1"

    def test_a_client_without_an_address_has_none(self, make):
        assert by_asgi(make(), b'"address"', client=None)[0][2] == "None"

    def test_the_certificate_of_the_client_is_known(self, make):
        certificate = {"subject": ((("commonName", "agent"),),)}
        (answer,) = by_asgi(make(), b'"certificate"', state={PEER_CERTIFICATE: certificate})
        assert answer[2] == "PeerCertificate(subject='CN=agent', common_name='agent')"
        assert by_asgi(make(), b'"certificate"', state={})[0][2] == "None"

    @pytest.mark.parametrize("query", ["?slow", "?more="])
    def test_a_slow_request_does_not_hold_up_the_loop(self, make, echo, query):
        assert by_asgi(make(), b'"a"', query=query)[0][0] == 200
        assert ("MainThread" in echo.threads) == (query != "?slow")

    def test_a_large_body_does_not_hold_up_the_loop(self, make, echo):
        word = "x" * (SMALL + 1)
        answers = by_asgi(make(), b'"small"', json.dumps(word).encode())
        assert answers == [(200, "text/plain", "small"), (200, "text/plain", word)]
        assert {name.partition("-")[0] for name in echo.threads} == {"MainThread", "listener"}


class TestGroups:
    def test_what_comes_together_is_written_together(self, make, echo):
        service = make()
        answers = by_asgi(service, *(f'"{n}"'.encode() for n in range(20)))
        assert answers == [(200, "text/plain", str(n)) for n in range(20)]
        assert echo.groups == [[str(n) for n in range(20)]]

    @pytest.mark.parametrize("bad", ["twice", "short"])
    def test_a_bad_one_harms_no_other(self, make, echo, bad):
        service = make()
        by_asgi(service, b'"twice"')
        answers = by_asgi(service, b'"a"', f'"{bad}"'.encode(), b'"refused"', b'"b"')
        assert [answer[0] for answer in answers] == [200, 500, 418, 200]
        assert stored(service) == ["a", "b", "twice"]
        assert echo.groups[1:] == [["a", bad, "refused", "b"], ["a"], [bad], ["refused"], ["b"]]

    def test_a_database_that_is_away_is_not_asked_again_for_each(self, make, echo):
        service = make()
        answers = by_asgi(service, b'"a"', b'"away"', b'"b"')
        assert [answer[0] for answer in answers] == [503] * 3
        assert echo.groups == [["a", "away", "b"]]
        assert by_asgi(service, b'"c"')[0][0] == 200
        assert stored(service) == ["c"]


class TestBounds:
    def test_too_many_may_not_wait(self, make, echo):
        service = make(queue_limit=2)
        echo.gate.clear()
        opener = threading.Timer(0.5, echo.gate.set)
        opener.start()
        statuses = [answer[0] for answer in by_asgi(service, *(f'"{n}"'.encode() for n in range(9)))]
        opener.join()
        assert statuses == [200] * 2 + [503] * 7
        assert len(stored(service)) == 2

    def test_nobody_waits_for_ever(self, make, send, echo):
        service = make(request_timeout=0.2)
        echo.gate.clear()
        assert send(service, b'"late"') == [(503, TEXT, "echo: 503 StoreSilent")]
        echo.gate.set()
        service.runtime.close(10)
        assert stored(service) == ["late"]

    def test_a_closed_one_takes_nothing(self, make, send):
        service = make()
        made = create_app(service, embed_worker=False)
        service.runtime.close(5)
        assert made.test_client().post("/echo/words", data=b'"a"').text == "echo: 503 StoreUnavailable"


class TestDeclarations:
    @pytest.mark.parametrize(
        ("method", "path", "message"),
        [
            ("post", "/echo/a", "method in upper case"),
            ("POST", "echo/a", "path without variables"),
            ("POST", "/echo/<a>", "path without variables"),
            ("POST", "/other", "not below /echo"),
        ],
    )
    def test_of_a_wrong_place(self, method, path, message):
        with pytest.raises(RegistrationError, match=message):
            Routes(
                Blueprint("echo", __name__),
                ("/echo",),
                complain,
                grouped=(GroupedRoute(method, path, str, lambda transaction, found: []),),
            )

    def test_of_functions_that_are_none(self):
        async def parse(request):
            return ""

        with pytest.raises(RegistrationError, match="plain functions"):
            GroupedRoute("POST", "/echo/a", parse, lambda transaction, found: [])
