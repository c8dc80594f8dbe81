"""An extension that speaks another system's protocol, served as people serve them, on both stores."""

import itertools
import json
import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.client import HTTPException

import pytest
from sqlalchemy import MetaData

from extension_kit.protocol import Tables
from tests.support.commands import extension_kit
from tests.support.databases import postgresql_server
from tests.support.paths import APPS, BIN
from tests.support.receivers import receiver, reply
from tests.support.servers import EDGES, listens, run_server
from tests.support.used import postgresql_database
from tests.support.waiting import wait_until

__all__ = ["receiver"]
KIT = str(BIN / "extension-kit")
ECHO = str(APPS / "echo.py")
ECHO_TABLES = Tables("echo", MetaData(), APPS / "echo_versions")
SUBSCRIPTIONS = "/events/subscriptions"
LOCAL = {"EXTENSION_DELIVERY_ALLOW_NETWORKS": "127.0.0.0/8"}


@pytest.fixture(scope="module")
def postgresql():
    with postgresql_server() as server:
        yield server


@contextmanager
def database_of(kind, directory, request):
    """The URL of a database; in PostgreSQL, the tables have been made."""
    if kind == "sqlite":
        yield f"sqlite:///{directory}/extension.db"
        return
    with postgresql_database(request.getfixturevalue("postgresql"), [ECHO_TABLES]) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path):
    with database_of(request.param, tmp_path, request) as url:
        yield url


def db_upgrade(url, *targets):
    return extension_kit("db", "upgrade", *targets, EXTENSION_DATABASE_URL=url)


@pytest.fixture
def ledger(tmp_path):
    return empty_ledger(tmp_path)


def empty_ledger(directory):
    path = directory / "ledger"
    path.touch()
    return path


@pytest.fixture
def environment(database_url, ledger):
    return variables(database_url, ledger)


def variables(database_url, ledger):
    return {"EXTENSION_DATABASE_URL": database_url, "LEDGER": ledger, "EXTENSION_STALLED_AFTER": 2, **LOCAL}


@pytest.fixture
def start(tmp_path, environment):
    """Start a command for the extension, and wait until it is ready."""
    return starting(tmp_path, environment)


def starting(directory, environment):
    numbers = itertools.count()

    @contextmanager
    def start(*command, **more):
        log = directory / f"process-{next(numbers)}.log"
        with run_server(command, log, **{**environment, **more}) as server:
            if command[0] == KIT:
                wait_until(lambda: ended(server) or server.health("readiness") == 200)
            else:
                wait_until(lambda: listens(server))
            yield server

    return start


def ended(server):
    assert server.process.poll() is None, server.log


WAYS = {
    "serve": [[KIT, "serve", "echo.py"]],
    "serve and worker": [[KIT, "serve", "echo.py", "--no-worker"], [KIT, "worker", "echo.py"]],
    "serve release 0.1": [[KIT, "serve", "echo_0_1.py"]],
    "gunicorn": [[part.replace("{target}", "echo") for part in EDGES["flask"]]],
}


WORD = "ho"
"""What the word of the settings is set to."""

MISSPELT = {"EXTENSION_ECHO_WROD": "s3cret", "EXTENSION_ECHO_SECRET": "s3cret", "EXTENSION_ECHO_WORD": WORD}


def lines(ledger, word):
    return [line.split()[1:] for line in ledger.read_text().splitlines() if line.startswith(f"{word} ")]


def say(server, id, **more):
    return server.post("/echo/said", {"id": id, "said": f"word-{id}", **more})


def document(server):
    """What the registration document asks for, by path."""
    entries = server.request("GET", "/").json["eventListeners"]
    return {entry["path"]: entry["listenTo"] for entry in entries}


@pytest.fixture(scope="class", params=[(way, kind) for way in WAYS for kind in ("sqlite", "postgresql")], ids="-".join)
def running(request, tmp_path_factory):
    """The ledger, and what runs; the first is the one that serves."""
    way, kind = request.param
    directory = tmp_path_factory.mktemp("way")
    ledger = empty_ledger(directory)
    with ExitStack() as stack:
        url = stack.enter_context(database_of(kind, directory, request))
        start = starting(directory, {**variables(url, ledger), **MISSPELT})
        yield ledger, [stack.enter_context(start(*command)) for command in WAYS[way]]


class TestEveryWay:
    """With one command, with a worker of its own, under a bare WSGI server: one for all that is asked of it."""

    @pytest.fixture
    def ledger(self, running):
        return running[0]

    @pytest.fixture
    def server(self, running):
        return running[1][0]

    def test_a_misspelt_setting_is_named(self, running):
        doubt = "EXTENSION_ECHO_WROD is not a setting: did you mean EXTENSION_ECHO_WORD?"
        for server in running[1]:
            wait_until(lambda server=server: doubt in server.log)
            assert server.log.count("EXTENSION_ECHO_") == doubt.count("EXTENSION_ECHO_")
            assert "s3cret" not in server.log

    def test_a_request_is_committed_and_its_event_gets_to_functions(self, server, ledger):
        def mine(word):
            return [line for line in lines(ledger, word) if line[0] in ("7", "8")]

        answer = say(server, "7", series="echo/a", subject="a/1")
        assert (answer.status, answer.json) == (200, {"is_new": True, "place": 1, "deliveries": 2})
        assert server.request("GET", "/echo/said/7").json == ["word-7"]
        wait_until(lambda: mine("heard") and mine("quick"))
        assert say(server, "7", series="echo/a").json == {"is_new": False, "place": 1, "deliveries": 0}
        assert say(server, "8", series="echo/a").json["place"] == 2
        wait_until(lambda: len(mine("heard")) == len(mine("quick")) == 2)
        assert mine("heard") == [
            ["7", "Said", "word-7", "echo", "echo/a", "a/1"],
            ["8", "Said", "word-8", "echo", "echo/a", "None"],
        ]
        assert sorted(mine("quick")) == [["7"], ["8"]]

    def test_errors_have_the_form_of_the_protocol(self, server):
        for method, path, body, status in (
            ("GET", "/echo/nothing", None, 404),
            ("GET", "/echo/said", None, 405),
            ("POST", "/echo/said", b"{", 400),
            ("POST", "/echo/said", b"[" + b" " * 9_000_000 + b"]", 413),
            ("PUT", "/echo/subscriptions/a", b'{"pattern": "a..b", "url": "http://127.0.0.1"}', 422),
            ("GET", "/echo/broken", None, 500),
        ):
            answer = server.request(method, path, body, {"Content-Type": "application/json"})
            assert (answer.status, answer.body) == (status, b"echo: %d\n" % status)
        assert server.request("GET", "/nothing").json["title"]
        assert "GET /echo/broken failed" in server.log
        assert server.request("GET", "/").status == 200

    def test_what_only_a_subscription_wants_is_asked_for_and_delivered(self, server, receiver, event):
        answers = iter([reply(503)])
        there = receiver(answer=lambda request: next(answers, reply()))
        assert SUBSCRIPTIONS not in document(server)
        before = server.request("GET", "/").headers["etag"]
        body = {"pattern": "killswitch.*", "url": there.url("/hook", "127.0.0.1")}
        assert server.request("PUT", "/echo/subscriptions/mine", json.dumps(body).encode(), JSON).status == 200
        names = ["killswitch.engaged", "killswitch.disengaged"]
        wait_until(lambda: document(server).get(SUBSCRIPTIONS) == names)
        assert server.request("GET", "/", headers={"If-None-Match": before}).status == 200

        sent = event("killswitch.engaged", id="e-1")
        assert [server.post(SUBSCRIPTIONS, sent).status for _ in range(2)] == [200, 200]
        wait_until(lambda: len(there.requests) == 2)
        told = [json.loads(request.body) for request in there.requests]
        expected = {"word": WORD, "to": "mine", "name": "killswitch.engaged", "source": "steadybit", "event": sent}
        assert told == [expected, expected]
        assert len({request.headers["webhook-id"] for request in there.requests}) == 1
        assert there.requests[0].path == "/hook"

        assert server.request("DELETE", "/echo/subscriptions/mine").status == 200
        wait_until(lambda: SUBSCRIPTIONS not in document(server))
        assert server.request("GET", "/").headers["etag"] == before

    def test_a_task_is_done_again_whatever_it_raises(self, server, ledger):
        say(server, "9")  # an embedded worker begins with the first request
        wait_until(lambda: ["4", WORD] in lines(ledger, "beat"))
        assert [number for number, _ in lines(ledger, "beat")][:4] == ["1", "2", "3", "4"]


JSON = {"Content-Type": "application/json"}


class TestServe:
    @pytest.mark.parametrize("victim", ["web", "worker"])
    def test_nothing_that_was_answered_is_lost_when_a_process_is_killed(self, start, ledger, victim):
        with start(KIT, "serve", "echo.py") as server:
            say(server, "first")
            wait_until(lambda: lines(ledger, "heard"))

            def send(number):
                try:
                    return number if say(server, f"{number}", series="echo/a").status == 200 else None
                except (OSError, HTTPException):
                    return None

            with ThreadPoolExecutor(4) as pool:
                sent = [pool.submit(send, number) for number in range(100)]
                wait_until(lambda: len(lines(ledger, "heard")) > 5)
                for child in server.children("serve" if victim == "web" else "worker"):
                    os.kill(child, signal.SIGKILL)
                answered = {f"{one.result()}" for one in sent if one.result() is not None}
            assert answered
            for id in answered:
                assert server.request("GET", f"/echo/said/{id}").json == [f"word-{id}"]
            wait_until(lambda: answered <= {id for id, *_ in lines(ledger, "heard")})
            wait_until(lambda: answered <= {id for (id,) in lines(ledger, "quick")})

    def test_everything_is_killed_and_started_again(self, start, ledger):
        with start(KIT, "serve", "echo.py", "--no-worker") as server:
            assert {say(server, f"{number}", series="echo/a").status for number in range(20)} == {200}
            os.killpg(server.process.pid, signal.SIGKILL)
        assert lines(ledger, "heard") == []
        with start(KIT, "serve", "echo.py"):
            wait_until(lambda: len(lines(ledger, "heard")) == 20)
        assert [id for id, *_ in lines(ledger, "heard")] == [f"{number}" for number in range(20)]

    def test_a_protocol_is_served_by_several_processes(self, start, ledger):
        with start(KIT, "serve", "echo.py", EXTENSION_WEB_WORKERS=2) as server, ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda number: say(server, f"{number % 20}", series="echo/a"), range(60)))
            assert {answer.status for answer in answers} == {200}
            assert sorted(answer.json["place"] for answer in answers if answer.json["is_new"]) == [*range(1, 21)]
            wait_until(lambda: len(lines(ledger, "heard")) == 20)


class TestReleaseBefore:
    @pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
    def test_former_names_are_said_once_with_the_names_of_today(self, start):
        with start(KIT, "serve", "echo_0_1.py", EXTENSION_WEB_WORKERS=2) as server:
            wait_until(lambda: "EventProtocol(manner" in server.log)
        warned = sorted(re.findall(r"WRN (.* now.*) \(echo_0_1\.py, line \d+\)", server.log))
        assert warned == [
            "EventProtocol(manner=...) is called delivery_format=... now, and takes the kit first",
            "extension.speak is called extension.add_protocol now",
            "extension_kit.protocol.Host is called Kit now",
            "extension_kit.protocol.Manner is called DeliveryFormat now",
        ]


class TestStarting:
    @pytest.fixture
    def database_url(self, tmp_path):
        return f"sqlite:///{tmp_path}/extension.db"

    @pytest.mark.parametrize(
        ("app", "message"),
        [
            ("raise SettingError('EXTENSION_ECHO_MODE is odd: even is allowed')", "EXTENSION_ECHO_MODE is odd"),
            ("return Routes(Blueprint('b', __name__), ('/events',), None)", "mine: /events/page belongs to the kit"),
            ("return host.nothing", "AttributeError"),
        ],
    )
    def test_routes_that_cannot_be_made_are_explained_in_one_line(self, tmp_path, environment, app, message):
        (tmp_path / "mine.py").write_text(f"""
from dataclasses import dataclass
from flask import Blueprint
from extension_kit import Extension
from extension_kit.protocol import EventProtocol, Routes, SettingError

@dataclass(frozen=True)
class Settings:
    pass

def routes(host, settings):
    {app}

extension = Extension("extension-mine")
extension.add_protocol(EventProtocol("mine", Settings, routes))

@extension.listen_to("killswitch.engaged")
def page(event):
    pass
""")
        with run_server([KIT, "serve", str(tmp_path / "mine.py")], tmp_path / "log", **environment) as server:
            wait_until(lambda: server.process.poll() is not None)
            assert server.process.returncode != 0
            assert message in server.log
            if message != "AttributeError":
                assert server.log.count("extension-kit: ") == 1
                assert "Traceback" not in server.log

    def test_tables_that_are_missing_are_asked_for(self, postgresql, tmp_path, environment):
        with postgresql_database(postgresql) as url:
            assert db_upgrade(url).returncode == 0
            given = {**environment, "EXTENSION_DATABASE_URL": url}
            with run_server([KIT, "serve", "echo.py"], tmp_path / "log", **given) as server:
                assert server.process.wait(30) == 2
                advice = "has no tables of echo yet: run `extension-kit db upgrade echo.py`\n"
                assert advice in server.log
                assert "Traceback" not in server.log
