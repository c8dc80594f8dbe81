"""Whose a path is decides how errors are answered there, who is asked for a password, and what is counted."""

import logging
from dataclasses import dataclass

import pytest
from flask import Blueprint, Response, abort, request
from werkzeug.exceptions import HTTPException

from extension_kit import Extension, RegistrationError
from extension_kit.errors import StoreUnavailable
from extension_kit.protocol import EventProtocol, Routes
from extension_kit.runtime.service import Service
from extension_kit.settings.kit import Settings
from extension_kit.web.app import create_app
from extension_kit.web.protocol_routes import owner


@dataclass(frozen=True)
class NoSettings:
    pass


class Odd(Exception):
    pass


def complain(error):
    code = error.code if isinstance(error, HTTPException) else 500
    return Response(f"echo: {code} {type(error).__name__}", code, mimetype="text/plain")


def echo(host, settings):
    blueprint = Blueprint("echo", __name__)

    @blueprint.post("/echo/said")
    def say():
        return {"said": request.get_json()}

    @blueprint.get("/echo/jobs/<int:number>")
    def job(number):
        return {"job": number}

    @blueprint.get("/echo/raises/<name>")
    def raises(name):
        raise {"store": StoreUnavailable("The database is away"), "odd": Odd("s3cret"), "exit": KeyError("k")}[name]

    @blueprint.get("/echo/status/<int:code>")
    def status(code):
        abort(code)

    return Routes(blueprint, ("/echo", "/word"), complain)


def page(event):
    pass


@pytest.fixture
def client(tmp_path):
    """A client of an extension that listens to agents and speaks another protocol."""

    def client(**settings):
        extension = Extension("extension-echo")
        extension.listen_to("killswitch.engaged", immediate=True)(page)
        extension.add_protocol(EventProtocol("echo", NoSettings, echo, names=("echo.*",)))
        made = Service.of([extension], Settings(database_url=f"sqlite:///{tmp_path}/extension.db", **settings)).open()
        services.append(made)
        return create_app(made, embed_worker=False).test_client()

    services = []
    yield client
    for service in services:
        service.runtime.close(5)


class TestErrors:
    @pytest.mark.parametrize(
        ("method", "path", "body", "expected"),
        [
            ("GET", "/echo/nothing", None, "echo: 404 NotFound"),
            ("GET", "/echo", None, "echo: 404 NotFound"),
            ("GET", "/echo/", None, "echo: 404 NotFound"),
            ("GET", "/word/anything", None, "echo: 404 NotFound"),
            ("GET", "/echo/jobs/x", None, "echo: 404 NotFound"),
            ("GET", "/echo/said", None, "echo: 405 MethodNotAllowed"),
            ("POST", "/echo/jobs/7", None, "echo: 405 MethodNotAllowed"),
            ("OPTIONS", "/echo/said", None, "echo: 405 MethodNotAllowed"),
            ("POST", "/echo/said", b'{"a": ' + b"1" * 2000 + b"}", "echo: 413 RequestEntityTooLarge"),
            ("POST", "/echo/said", b"{", "echo: 400 BadRequest"),
            ("GET", "/echo/status/409", None, "echo: 409 Conflict"),
            ("GET", "/echo/raises/store", None, "echo: 500 StoreUnavailable"),
            ("GET", "/echo/raises/odd", None, "echo: 500 Odd"),
            ("GET", "/echo/raises/exit", None, "echo: 500 KeyError"),
        ],
    )
    def test_under_the_paths_of_a_protocol_they_have_its_form(self, client, method, path, body, expected):
        answer = client(max_body_bytes=1000).open(path, method=method, data=body, content_type="application/json")
        assert (answer.text, answer.status_code) == (expected, int(expected.split()[1]))
        assert answer.headers["Request-Id"]

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/nothing", 404),
            ("GET", "/echoes", 404),
            ("GET", "/ech", 404),
            ("POST", "/", 405),
            ("GET", "/events/page", 405),
            ("GET", "/events/subscriptions", 404),
            ("POST", "/events/page", 413),
        ],
    )
    def test_everywhere_else_they_have_the_kits(self, client, method, path, status):
        answer = client(max_body_bytes=1000).open(path, method=method, data=b"x" * 2000)
        assert answer.status_code == status
        assert set(answer.json) >= {"title"}

    @pytest.mark.parametrize(
        ("path", "logged", "traceback"),
        [
            ("/echo/raises/odd", "GET /echo/raises/odd failed", True),
            ("/echo/raises/store", "GET /echo/raises/store: The database is away", False),
            ("/echo/status/500", None, False),
            ("/echo/nothing", None, False),
        ],
    )
    def test_what_a_view_raises_is_logged(self, client, caplog, path, logged, traceback):
        with caplog.at_level(logging.ERROR):
            client().get(f"{path}?token=s3cret-2")
        messages = [record.getMessage() for record in caplog.records]
        assert messages == ([logged] if logged else [])
        assert [bool(record.exc_info) for record in caplog.records] == ([traceback] if logged else [])
        assert "s3cret-2" not in caplog.text

    def test_what_works_works(self, client):
        there = client()
        assert there.post("/echo/said", json="hi").json == {"said": "hi"}
        assert there.get("/echo/jobs/7").json == {"job": 7}
        assert there.get("/").json["eventListeners"][0]["path"] == "/events/page"


class TestCredentials:
    """The kit's user name and password are for agents; a protocol has its own way."""

    @pytest.mark.parametrize(
        ("path", "status"),
        [
            ("/echo/jobs/7", 200),
            ("/echo//jobs/7", 404),
            ("/echo/nothing", 404),
            ("/word", 404),
            ("/health/liveness", 200),
            ("/", 401),
            ("/metrics", 401),
            ("/openapi.json", 401),
            ("/events/page", 401),
            ("/echoes", 401),
            ("/echo/../metrics", 404),
            ("/nothing", 401),
        ],
    )
    def test_they_are_asked_for_only_at_paths_of_the_kit(self, client, path, status):
        there = client(basic_username="agent", basic_password="hush")
        assert there.get(path).status_code == status

    @pytest.mark.parametrize("path", ["/", "/echo/jobs/7"])
    def test_who_has_them_is_let_in(self, client, path):
        there = client(basic_username="agent", basic_password="hush")
        assert there.get(path, auth=("agent", "hush")).status_code == 200


class TestPaths:
    @pytest.mark.parametrize(
        ("paths", "path", "own"),
        [
            (("/echo",), "/echo", True),
            (("/echo",), "/echo/", True),
            (("/echo",), "/echo/a/b", True),
            (("/echo/",), "/echo/a", True),
            (("/echo",), "/echoes", False),
            (("/echo",), "/", False),
            (("/a/b", "/c"), "/a", False),
            (("/a/b", "/c"), "/c/d", True),
            ((), "/", False),
        ],
    )
    def test_a_path_is_a_protocols_that_begins_with_one_of_its_own(self, paths, path, own):
        routes = Routes(Blueprint("echo", __name__), paths, complain)
        assert routes.own(path) is own
        assert owner([routes], path) is (routes if own else None)

    @pytest.mark.parametrize("name", ["health", "one"])
    def test_a_blueprint_that_is_called_as_another_is_refused(self, tmp_path, name):
        def speak(source, blueprint):
            def routes(host, settings):
                return Routes(Blueprint(blueprint, __name__), (f"/{source}",), complain)

            extension = Extension(f"extension-{source}")
            extension.add_protocol(EventProtocol(source, NoSettings, routes))
            return extension

        settings = Settings(database_url=f"sqlite:///{tmp_path}/extension.db")
        service = Service.of([speak("first", "one"), speak("echo", name)], settings).open()
        with pytest.raises(RegistrationError, match=f"^echo: another blueprint is called '{name}', rename it"):
            create_app(service)
        service.runtime.close(5)

    @pytest.mark.parametrize(
        ("paths", "shared"),
        [
            (("/",), "/"),
            (("/echo", "/health"), "/health"),
            (("/metrics",), "/metrics"),
            (("/openapi.json",), "/openapi.json"),
            (("/events",), "/events/page"),
            (("/events/page",), "/events/page"),
            (("/other/deeper",), "/other/deeper"),
            (("/other",), "/other"),
        ],
    )
    def test_paths_of_the_kit_or_of_others_are_refused(self, tmp_path, paths, shared):
        def speak(source, paths):
            def routes(host, settings):
                return Routes(Blueprint(source, __name__), paths, complain)

            extension = Extension(f"extension-{source}")
            extension.add_protocol(EventProtocol(source, NoSettings, routes))
            return extension

        first, second = speak("other", ("/other",)), speak("echo", paths)
        first.listen_to("killswitch.engaged", immediate=True)(page)
        service = Service.of([first, second], Settings(database_url=f"sqlite:///{tmp_path}/extension.db")).open()
        with pytest.raises(RegistrationError, match=f"^echo: {shared} belongs to the kit, a listener or another"):
            create_app(service, embed_worker=False)
        service.runtime.close(5)

    def test_without_a_database_a_protocol_is_left_out(self):
        extension = Extension("extension-echo")
        extension.listen_to("killswitch.engaged")(page)
        extension.add_protocol(EventProtocol("echo", NoSettings, echo))
        there = extension.create_app(Settings(), durable=False).test_client()
        assert there.get("/echo/jobs/7").status_code == 404
        assert there.get("/").status_code == 200


def test_requests_are_counted_by_rule(client):
    pytest.importorskip("prometheus_client")
    there = client()

    def counted():
        lines = there.get("/metrics").text.splitlines()
        found = {}
        for line in lines:
            assert not (line.startswith("extension_events_") and "/echo/jobs" in line)  # that is no event
            if line.startswith('extension_request_seconds_count{path="'):
                labels, _, value = line.partition("} ")
                path, _, status = labels.split('path="')[1].removesuffix('"').partition('",status="')
                found[path, int(status)] = float(value)
        return found

    before = counted()
    requests = ["/echo/jobs/1", "/echo/jobs/2", "/echo/raises/odd", "/echo/nothing/3", "/nothing", "/"]
    for path in requests:
        there.get(path)
    there.get("/echo/said")
    there.post("/echo/said", data=b"{", content_type="application/json")
    after = counted()
    assert {key: value - before.get(key, 0) for key, value in after.items() if value != before.get(key, 0)} == {
        ("GET /echo/jobs/<int:number>", 200): 2,
        ("GET /echo/raises/<name>", 500): 1,
        ("POST /echo/said", 400): 1,
    }
