"""Simple requests for listeners skip Flask while nobody has hooks there, and nobody can tell by the answers."""

import base64
import json
import logging
import threading
from io import BytesIO

import flask
import pytest
from flask import Blueprint, Flask, Request, Response, signals
from flask.sessions import SecureCookieSessionInterface
from werkzeug.wrappers import Response as PlainResponse

from extension_kit import Extension
from extension_kit.observability import metrics
from extension_kit.observability.metrics_page import page
from extension_kit.runtime.service import Service
from extension_kit.settings.kit import Settings
from extension_kit.web import hooks
from extension_kit.web.app import create_app

PATH = "/events/page"


@pytest.fixture
def make():
    """Make an application with immediate listeners; ``seen`` gets True for each event that Flask has a request for."""

    def make(**settings):
        extension = Extension("extension-page")
        seen = []

        @extension.listen_to("*", immediate=True)
        def page(event):
            seen.append(flask.has_request_context())

        @extension.listen_to("*", path="/events/fails", immediate=True)
        def fails(event):
            raise RuntimeError("the pager is out of order")

        @extension.listen_to("*", path="/events/waits", immediate=True)
        def waits(event):
            assert gate.wait(30)

        gate = threading.Event()
        gates.append(gate)
        app = create_app(Service.of([extension], Settings(**settings)).open(), embed_worker=False)
        app.seen = seen
        return app

    gates = []
    yield make
    for gate in gates:
        gate.set()


@pytest.fixture
def app(make):
    return make()


def send(app, event, path=PATH, **options):
    return app.test_client(use_cookies=False).post(
        path, data=event if isinstance(event, bytes) else json.dumps(event), **options
    )


def called(found):
    """A hook that notes its calls."""

    def hook(*arguments, **options):
        found.append(arguments)

    return hook


def blueprint(found):
    mine = Blueprint("mine", __name__)
    mine.before_app_request(called(found))
    return mine


class CountedRequest(Request):
    made = 0

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        CountedRequest.made += 1


class CountedResponse(Response):
    made = 0

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        CountedResponse.made += 1


class Sessions(SecureCookieSessionInterface):
    opened = 0

    def open_session(self, app, request):
        Sessions.opened += 1


def after(found):
    def hook(response):
        found.append(response)
        return response

    return hook


def replace_view(app, found):
    view = app.view_functions["listeners.events/page"]
    app.view_functions["listeners.events/page"] = lambda: [found.append(0), view()][1]


def replace(name):
    def change(app, found):
        original = getattr(app, name)

        def replacement(*arguments, **options):
            found.append(arguments)
            return original(*arguments, **options)

        setattr(app, name, replacement)

    return change


HOOKS = {
    "before_request": lambda app, found: app.before_request(called(found)),
    "after_request": lambda app, found: app.after_request(after(found)),
    "teardown_request": lambda app, found: app.teardown_request(called(found)),
    "teardown_appcontext": lambda app, found: app.teardown_appcontext(called(found)),
    "url_value_preprocessor": lambda app, found: app.url_value_preprocessor(called(found)),
    "a blueprint's for the application": lambda app, found: app.register_blueprint(blueprint(found)),
    "the listeners' own": lambda app, found: app.before_request_funcs["listeners"].append(called(found)),
    "the listeners' own, after": lambda app, found: app.after_request_funcs["listeners"].append(after(found)),
    "the listeners' own, at the end": lambda app, found: app.teardown_request_funcs["listeners"].append(called(found)),
    "in the place of ours": lambda app, found: app.before_request_funcs[None].insert(0, called(found)),
    "a view": replace_view,
    **{f"the method {name}": replace(name) for name in sorted(hooks._PARTS) if callable(getattr(Flask, name))
       and name not in ("wsgi_app", "request_class", "response_class", "app_ctx_globals_class",
                        "handle_exception", "handle_http_exception", "handle_user_exception", "log_exception",
                        "raise_routing_exception")},
}  # fmt: skip


def test_a_simple_request_skips_flask(app, event):
    assert [send(app, event("killswitch.engaged")).status_code for _ in range(3)] == [200] * 3
    assert app.seen == [False] * 3


class TestHooks:
    @pytest.mark.parametrize("name", HOOKS)
    def test_of_every_kind_are_called_from_then_on(self, app, event, name):
        found = []
        send(app, event("killswitch.engaged"))
        app._got_first_request = False  # Flask forbids most of them later, but a list can be changed at any time
        HOOKS[name](app, found)
        assert send(app, event("killswitch.engaged")).status_code == 200
        assert app.seen == [False, True]
        assert found

    @pytest.mark.parametrize("signal", hooks._SIGNALS, ids=lambda signal: signal.name)
    def test_of_signals_are_called_while_they_are_connected(self, app, event, signal):
        found = []
        with signal.connected_to(receiver := called(found)):
            send(app, event("killswitch.engaged"))
        send(app, event("killswitch.engaged"))
        assert receiver
        assert app.seen == [True, False]
        assert bool(found) == (signal is not signals.got_request_exception)

    @pytest.mark.parametrize(
        ("name", "value", "count"),
        [
            ("request_class", CountedRequest, lambda: CountedRequest.made),
            ("response_class", CountedResponse, lambda: 1),
            ("session_interface", Sessions(), lambda: Sessions.opened),
            ("app_ctx_globals_class", dict, lambda: 1),
        ],
    )
    def test_that_are_classes(self, app, event, name, value, count):
        if name == "app_ctx_globals_class":
            value = type("Globals", (Flask.app_ctx_globals_class,), {})
        setattr(app, name, value)
        assert send(app, event("killswitch.engaged")).status_code == 200
        assert app.seen == [True]
        assert count()

    @pytest.mark.parametrize(("name", "value"), [("DEBUG", True), ("TRUSTED_HOSTS", ["localhost"])])
    def test_that_are_settings(self, app, event, name, value):
        app.config[name] = value
        assert send(app, event("killswitch.engaged")).status_code == 200
        assert app.seen == [True]

    def test_of_tools_that_replace_functions_of_flask(self, make, monkeypatch, event):
        original, found = Flask.full_dispatch_request, []

        def observed(app):
            found.append(app)
            return original(app)

        monkeypatch.setattr(Flask, "full_dispatch_request", observed)
        app = make()
        assert send(app, event("killswitch.engaged")).status_code == 200
        assert found == [app]
        assert app.seen == [True]

    def test_of_a_blueprint_for_itself_change_nothing(self, app, event):
        mine = Blueprint("mine", __name__)
        mine.before_request(lambda: None)
        app.register_blueprint(mine)
        send(app, event("killswitch.engaged"))
        assert app.seen == [False]

    def test_middleware_sees_every_request(self, app, event):
        found, inner = [], app.wsgi_app

        def middleware(environ, start_response):
            found.append(environ["PATH_INFO"])
            return inner(environ, start_response)

        app.wsgi_app = middleware
        send(app, event("killswitch.engaged"))
        assert found == [PATH]
        assert app.seen == [False]


class TestUnusualRequests:
    @pytest.mark.parametrize(
        "options",
        [
            {"environ_overrides": {"HTTP_COOKIE": "a=b"}},
            {"headers": {"Upgrade": "websocket"}},
            {"headers": {"Transfer-Encoding": "identity"}},
            {"environ_overrides": {"PATH_INFO": "/" + PATH}},
            {"environ_overrides": {"CONTENT_LENGTH": " 900"}},
        ],
        ids=str,
    )
    def test_are_answered_by_flask(self, app, event, options):
        body = json.dumps(event("killswitch.engaged")).encode().ljust(900)
        assert send(app, body, **options).status_code == 200
        assert app.seen == [True]

    def test_of_a_client_that_keeps_the_request(self, app, event):
        with app.test_client() as client:
            client.post(PATH, json=event("killswitch.engaged"))
            assert flask.request.path == PATH
        assert app.seen == [True]

    @pytest.mark.parametrize("parts", [[], [b"{"], [b"{", b'"a": 1']])
    def test_with_a_body_that_breaks_off(self, app, parts):
        class Input(BytesIO):
            def read(self, size=-1):
                return parts.pop(0) if parts else b""

        environ = {"wsgi.input": Input(), "CONTENT_LENGTH": "100", "wsgi.input_terminated": True}
        reply = app.test_client().post(PATH, environ_overrides=environ)
        assert reply.status_code == 400
        assert reply.json["detail"] == "The body broke off: it is shorter than its Content-Length."

    @pytest.mark.parametrize("parts", [[], [b"{"]])
    def test_with_a_body_that_cannot_be_read(self, app, parts):
        class Input(BytesIO):
            def read(self, size=-1):
                if parts:
                    return parts.pop(0)
                raise ConnectionResetError

        environ = {"wsgi.input": Input(), "CONTENT_LENGTH": "100", "wsgi.input_terminated": True}
        reply = app.test_client().post(PATH, environ_overrides=environ)
        assert reply.status_code == 400
        assert reply.json["detail"] == "The body broke off, or its chunks are malformed."

    def test_with_a_body_in_parts(self, app, event):
        body = json.dumps(event("killswitch.engaged")).encode()

        class Input(BytesIO):
            def read(self, size=-1):
                return super().read(min(size, 100))

        environ = {"wsgi.input": Input(body), "CONTENT_LENGTH": str(len(body))}
        assert app.test_client().post(PATH, environ_overrides=environ).status_code == 200
        assert app.seen == [False]


RIGHT = {"Authorization": "Basic " + base64.b64encode(b"agent:secret").decode()}
GUARDED = {"basic_username": "agent", "basic_password": "secret"}
REQUESTS = {
    "an event": ({}, PATH, {}, None, 200),
    "right credentials": (GUARDED, PATH, RIGHT, None, 200),
    "wrong credentials": (GUARDED, PATH, {"Authorization": "Basic x"}, None, 401),
    "no credentials": (GUARDED, PATH, {}, None, 401),
    "no JSON": ({}, PATH, {}, b"{", 400),
    "no event": ({}, PATH, {}, b"{}", 422),
    "no event, compressed": (
        {}, PATH, {"Accept-Encoding": "gzip"}, b'{"experimentExecution": {"tags": [%s]}}' % b",".join([b"1"] * 100), 422
    ),
    "too large": ({"max_body_bytes": 100}, PATH, {}, None, 413),
    "another type in strict mode": ({"validation": "strict"}, PATH, {"Content-Type": "text/plain"}, None, 415),
    "a function that raises": ({}, "/events/fails", {}, None, 500),
    "a function that takes too long": ({}, "/events/waits", {"Request-Timeout": "0.05"}, None, 503),
    "an unsound request id": ({}, PATH, {"Request-Id": "a b"}, None, 200),
}  # fmt: skip


class TestAnswers:
    """An application with a hook is answered by Flask: it is what the other one has to equal."""

    @pytest.mark.parametrize("name", REQUESTS)
    def test_are_the_same_as_those_of_flask(self, make, event, name, monkeypatch):
        settings, path, headers, body, status = REQUESTS[name]
        monkeypatch.setattr("extension_kit.web.fast_path.request_id", lambda sent: sent.replace(" ", ""))
        monkeypatch.setattr("extension_kit.web.app.request_id", lambda sent: sent.replace(" ", ""))
        fast, slow = make(**settings), make(**settings)
        slow.before_request(lambda: None)
        headers = {"Content-Type": "application/json", "Request-Id": "a", **headers}
        event = event("killswitch.engaged")
        answers = [send(app, body or event, path, headers=headers) for app in (fast, slow)]
        assert [answer.status_code for answer in answers] == [status] * 2
        heads, bodies = [list(answer.headers) for answer in answers], [answer.data for answer in answers]
        assert heads[0] == heads[1]
        assert bodies[0] == bodies[1]

    def test_to_duplicates_are_the_same(self, make, event):
        event = event("killswitch.engaged")
        fast, slow = make(), make()
        slow.before_request(lambda: None)
        answers = []
        for app in (fast, slow):
            send(app, event)
            answers.append(send(app, event, headers={"Request-Id": "a"}))
        assert list(answers[0].headers) == list(answers[1].headers)
        assert answers[0].headers["Extension-Duplicate"] == "true"

    def test_to_a_fault_of_the_kit_are_the_same(self, make, event, monkeypatch, caplog):
        fast, slow = make(), make()
        slow.before_request(lambda: None)
        answers = []
        for app in (fast, slow):
            monkeypatch.setattr(app.extensions["extension_kit"].receiver, "receive", None)
            answers.append(send(app, event("killswitch.engaged"), headers={"Request-Id": "a"}))
        assert [answer.status_code for answer in answers] == [500] * 2
        assert list(answers[0].headers) == list(answers[1].headers)
        assert answers[0].data == answers[1].data
        messages = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
        assert messages == [f"POST {PATH} failed"] * 2

    def test_to_errors_come_from_the_handlers_of_the_user(self, app, event, monkeypatch):
        app.register_error_handler(TypeError, lambda error: (f"mine: {flask.request.path}", 418))
        monkeypatch.setattr(app.extensions["extension_kit"].receiver, "receive", None)
        reply = send(app, event("killswitch.engaged"), headers={"Request-Id": "a"})
        assert (reply.status_code, reply.text, reply.headers["Request-Id"]) == (418, f"mine: {PATH}", "a")

    def test_to_errors_of_such_handlers_too(self, app, event, monkeypatch):
        def fail(error):
            raise ValueError("no handler")

        app.register_error_handler(TypeError, fail)
        monkeypatch.setattr(app.extensions["extension_kit"].receiver, "receive", None)
        assert send(app, event("killswitch.engaged")).status_code == 500


class TestTraces:
    @pytest.mark.parametrize("hooked", [False, True])
    def test_are_a_line_in_the_log_and_a_count(self, app, event, caplog, hooked):
        if hooked:
            app.before_request(lambda: None)
        body = json.dumps(event("killswitch.engaged")).encode()
        before = counted()
        with caplog.at_level(logging.INFO, "extension_kit.access"):
            send(app, body, headers={"Request-Id": "a"})
        (line,) = [record.fields for record in caplog.records if record.name == "extension_kit.access"]
        assert line.pop("duration") > 0
        assert line == {
            "method": "POST", "url": PATH, "res_size": 2, "req_size": len(body), "status": 200, "req_id": "a"
        }  # fmt: skip
        assert counted() == before + 1


def counted():
    _, _, text = page(list)
    lines = [line for line in text.decode().splitlines() if line.startswith(f"{metrics.REQUEST_SECONDS}_count")]
    return sum(float(line.split()[-1]) for line in lines if f'path="{PATH}"' in line and 'status="200"' in line)


def test_plain_responses_are_what_werkzeug_would_send(app, event):
    """The status lines are written down, because making them of numbers would take longer than the rest."""
    from extension_kit.web.fast_path import _STATUS_LINES

    assert {PlainResponse(status=status).status for status in _STATUS_LINES} == set(_STATUS_LINES.values())
