"""``extension-kit serve`` as people run it: start, stop, refuse to start, survive bad clients."""

import http.client
import itertools
import json
import os
import re
import signal
import socket
import ssl
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
import trustme

from tests.support.commands import extension_kit
from tests.support.paths import APPS
from tests.support.servers import SERVE, free_port, run_server, serve_app
from tests.support.waiting import wait_until

ONCALL = """
from extension_kit import Event, Extension

extension = Extension("extension-oncall")

@extension.listen_to("killswitch.engaged")
def page(event: Event) -> None:
    print("paged for", event.id, flush=True)
"""


@pytest.fixture
def oncall(tmp_path):
    path = tmp_path / "oncall.py"
    path.write_text(ONCALL)
    return path


@pytest.fixture
def start(tmp_path):
    """Start ``extension-kit serve`` without waiting for anything."""

    def start(*targets, **environment):
        return run_server([*SERVE, *map(str, targets)], tmp_path / "server.log", cwd=tmp_path, **environment)

    return start


def is_ready(server):
    assert server.process.poll() is None, server.log
    return server.health("readiness") == 200


LISTENERS = """
from extension_kit import Extension

extension = Extension("extension-several")

@extension.listen_to("experiment.execution.failed", "killswitch.*")
def page(event): ...

@extension.listen_to("*", path="/hooks/all", name="everything", immediate=True)
def log(event): ...
"""


LISTENED = [
    "POST /events/page: page, durable, for experiment.execution.failed, killswitch.*",
    "POST /hooks/all: everything, immediate, for *",
]


@pytest.mark.parametrize("command", ["serve", "worker"])
def test_the_log_says_at_the_start_what_is_listened_to(tmp_path, command):
    (tmp_path / "several.py").write_text(LISTENERS)
    with run_server([SERVE[0], command, "several.py"], tmp_path / "log", cwd=tmp_path) as server:
        wait_until(lambda: is_ready(server) and "Delivery worker started with" in server.log)
        assert re.findall("INF Listening at (.*)", server.log) == LISTENED


def test_the_log_names_the_revision_at_the_start(start, oncall):
    with start(oncall, EXTENSION_REVISION="4f2a1c") as server:
        wait_until(lambda: is_ready(server))
        assert "version=unknown; revision=4f2a1c\n" in server.log


def test_an_application_for_other_servers_logs_it_too(tmp_path, monkeypatch, caplog):
    from extension_kit.wsgi import create_app

    monkeypatch.setenv("EXTENSION_DATABASE_URL", f"sqlite:///{tmp_path}/extension.db")
    caplog.set_level("INFO")
    (tmp_path / "several_listeners.py").write_text(LISTENERS)
    app = create_app(str(tmp_path / "several_listeners.py"))
    assert [line.removeprefix("Listening at ") for line in caplog.messages if "Listening at" in line] == LISTENED
    app.extensions["extension_kit"].runtime.close(5)


class TestRefusingToStart:
    """One clear line, exit code 2, and nothing left behind."""

    def refused(self, start, *targets, **environment):
        with start(*targets, **environment) as server:
            assert server.process.wait(30) == 2, server.log
            lines = [line for line in server.log.splitlines() if line.startswith("extension-kit: ")]
            assert len(lines) == 1, server.log
            assert "Traceback" not in server.log
            assert " ERR " not in server.log
            return lines[0]

    def not_loaded(self, *targets, cwd):
        """How it is said that targets cannot be loaded, by the command that does nothing but load them."""
        done = extension_kit("openapi", *targets, cwd=cwd)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("extension-kit: ")
        assert done.stderr.count("\n") == 1
        return done.stderr.removesuffix("\n")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("", "defines no extension"),
            ("from extension_kit import Extension\nextension = Extension('x')", "x has no listener: decorate"),
            ("import nonsense_that_is_not_there", "ModuleNotFoundError.*nonsense_that_is_not_there.*line 1"),
            ("\n\n1 / 0", "ZeroDivisionError: division by zero .*line 3"),
            ("def (", "SyntaxError"),
            ("raise SystemExit(5)", "SystemExit: 5"),
            (
                "from extension_kit import Extension\nextension = Extension('x')\n"
                "@extension.listen_to('a..b')\ndef page(event): ...",
                "parts are joined by single dots.*line 3",
            ),
            (
                "from extension_kit import Extension\nextension = Extension('x')\n"
                "@extension.listen_to('a.failed')\ndef page(event): ...\n"
                "@extension.listen_to('a.completed')\ndef page(event): ...",
                r"page is registered twice.*@extension.listen_to\('a.completed', name='page-completed'\) .*line 5",
            ),
            (
                "from extension_kit import Extension\nextension = Extension('x')\n"
                "@extension.listen_to('*', retry=5)\ndef page(event): ...",
                r"such as retry=\[5, 300\].*line 3",
            ),
        ],
    )
    def test_a_broken_handler_file(self, tmp_path, monkeypatch, content, message):
        monkeypatch.delitem(sys.modules, "broken", raising=False)
        path = tmp_path / "broken.py"
        path.write_text(content)
        line = self.not_loaded(path, cwd=tmp_path)
        assert re.search(message, line)
        assert "broken.py" in line or "has no listener" in line

    @pytest.mark.parametrize("content", ["def (", "from extension_kit import Extension\nextension = Extension('x')"])
    def test_several_processes_say_once_what_cannot_be_loaded(self, start, tmp_path, monkeypatch, content):
        monkeypatch.delitem(sys.modules, "broken", raising=False)
        path = tmp_path / "broken.py"
        path.write_text(content)
        assert self.refused(start, path, EXTENSION_WEB_WORKERS=3) == self.not_loaded(path, cwd=tmp_path)

    def test_a_file_that_is_not_there(self, tmp_path):
        assert "no such file" in self.not_loaded("nothing.py", cwd=tmp_path)

    def test_a_module_that_is_not_there(self, tmp_path):
        assert "ModuleNotFoundError" in self.not_loaded("nothing.there", cwd=tmp_path)

    def test_a_folder_without_an_extension(self, tmp_path):
        assert "__init__.py" in self.not_loaded(tmp_path, cwd=tmp_path)

    def test_two_files_that_contradict_each_other(self, start, tmp_path, oncall):
        other = tmp_path / "other.py"
        text = ONCALL.replace('"killswitch.engaged"', '"killswitch.engaged", restrict_to="any"')
        other.write_text(text)
        assert "two extensions are called extension-oncall" in self.refused(start, oncall, other)
        other.write_text(text.replace("extension-oncall", "extension-other"))
        assert "share /events/page" in self.refused(start, oncall, other)

    @pytest.mark.parametrize("line", ["from helpers import call", "import helpers", "from helpers import Telephone"])
    def test_two_folders_with_helpers_of_one_name(self, tmp_path, line):
        """Python would give both of them those that are loaded first."""
        targets = ["one.py", "inner/other.py"]
        for target in targets:
            path = tmp_path / target
            path.parent.mkdir(exist_ok=True)
            (path.parent / "helpers.py").write_text("def call(): ...\n\nclass Telephone: ...\n")
            text = ONCALL.replace("extension-oncall", path.stem).replace("def page", f"def page_{path.stem}")
            path.write_text(f"{line}\nimport json\n{text}")

        def load(*targets):
            for name in ("one", "other", "helpers"):
                sys.modules.pop(name, None)
            return extension_kit("openapi", *targets, cwd=tmp_path)

        said = "extension-kit: {}: another module called helpers is loaded already, rename {}/helpers.py\n"
        assert load(*targets).stderr == said.format(targets[1], tmp_path / "inner")
        assert load(*reversed(targets)).stderr == said.format(targets[0], tmp_path)
        assert [load(target).returncode for target in targets] == [0, 0]
        (tmp_path / "helpers.py").rename(tmp_path / "my_helpers.py")
        (tmp_path / "one.py").write_text((tmp_path / "one.py").read_text().replace("helpers", "my_helpers"))
        assert load(*targets).returncode == 0

    def test_a_bad_setting(self, start, oncall):
        line = self.refused(start, oncall, STEADYBIT_EXTENSION_VALIDATION="strictly")
        assert "STEADYBIT_EXTENSION_VALIDATION" in line
        assert "strictly" in line
        assert "tolerant" in line

    @pytest.mark.parametrize("variable", ["STEADYBIT_EXTENSION_PORT", "STEADYBIT_EXTENSION_HEALTH_PORT"])
    @pytest.mark.parametrize("reuse", [0, 1])
    @pytest.mark.parametrize("address", ["0.0.0.0", "::1"])
    def test_a_taken_port(self, start, oncall, variable, reuse, address):
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, reuse)
            taken.bind((address, 0))
            taken.listen()
            port = taken.getsockname()[1]
            line = self.refused(start, oncall, **{variable: port, "EXTENSION_WEB_WORKERS": 2})
        assert str(port) in line
        assert variable in line

    def test_a_socket_on_which_another_server_listens(self, start, oncall, tmp_path):
        path = tmp_path / "taken.sock"
        with socket.socket(socket.AF_UNIX) as taken:
            taken.bind(str(path))
            taken.listen()
            assert "a server already listens at" in self.refused(start, oncall, STEADYBIT_EXTENSION_UNIX_SOCKET=path)

    def test_a_module_that_fails_after_it_has_started_a_thread(self, start, tmp_path):
        path = tmp_path / "threads.py"
        path.write_text("import threading, time\nthreading.Thread(target=time.sleep, args=(600,)).start()\n1 / 0")
        assert "ZeroDivisionError" in self.refused(start, path)

    def test_an_index_provider_that_raises(self, start, tmp_path):
        path = tmp_path / "provider.py"
        path.write_text(ONCALL + "extension.extend_index(lambda: {'actions': {1, 2}})")
        assert "extend_index(...): " in self.refused(start, path)

    def test_a_certificate_that_is_not_there(self, start, oncall):
        line = self.refused(
            start, oncall, STEADYBIT_EXTENSION_TLS_SERVER_CERT="/no/cert", STEADYBIT_EXTENSION_TLS_SERVER_KEY="/no/key"
        )
        assert "/no/cert" in line

    def test_a_socket_path_that_is_a_file(self, start, oncall):
        line = self.refused(start, oncall, STEADYBIT_EXTENSION_UNIX_SOCKET=oncall)
        assert "is not a socket" in line
        assert oncall.read_text() == ONCALL


class TestTheExampleOfTheReadme:
    def test_it_serves_an_agent(self, served, event):
        with served("oncall") as server:
            document = server.request("GET", "/").json
            assert document == {
                "eventListeners": [
                    {
                        "method": "POST",
                        "path": "/events/page",
                        "listenTo": ["experiment.execution.failed", "experiment.execution.errored"],
                        "restrictTo": "leader",
                    }
                ]
            }
            reply = server.post("/events/page", event("experiment.execution.failed", reason="too slow"))
            assert (reply.status, reply.body) == (200, b"{}")
            wait_until(lambda: "failed (too slow)" in server.log)

    def test_several_files_are_served_together(self, start, tmp_path, oncall):
        other = tmp_path / "other.py"
        other.write_text(ONCALL.replace("page", "tell").replace("oncall", "other"))
        with start(oncall, other) as server:
            wait_until(lambda: is_ready(server))
            paths = [entry["path"] for entry in server.request("GET", "/").json["eventListeners"]]
            assert paths == ["/events/page", "/events/tell"]
            assert server.request("GET", "/openapi.json").json["info"]["title"] == "extension-oncall + extension-other"

    def test_typos_are_warned_about_once(self, start, tmp_path):
        path = tmp_path / "typo.py"
        path.write_text(ONCALL.replace("killswitch.engaged", "kilswitch.engaged"))
        with start(path, EXTENSION_WEB_WORKERS=2) as server:
            wait_until(lambda: is_ready(server))
            wait_until(lambda: "did you mean killswitch.engaged?" in server.log)
            assert server.log.count("did you mean killswitch.engaged?") == 1


class TestStopping:
    @pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
    def test_the_exit_code_names_the_signal(self, served, number, code):
        with served("oncall") as server:
            assert server.stop(number) == code

    def test_a_request_in_flight_is_answered_and_readiness_is_off_meanwhile(self, served, tmp_path, event):
        calls, release = tmp_path / "calls", tmp_path / "release"
        calls.touch()
        with served("answers", CALLS=calls, RELEASE=release) as server:
            replies = []
            sender = threading.Thread(
                target=lambda: replies.append(server.post("/events/waits", event("killswitch.engaged")))
            )
            sender.start()
            wait_until(lambda: "waits" in calls.read_text())
            server.process.terminate()
            wait_until(lambda: server.health("readiness") == 503)
            assert server.health("liveness") == 200
            release.touch()
            sender.join(30)
            assert [reply.status for reply in replies] == [200]
            assert server.process.wait(30) == 143

    def test_a_function_that_hangs_is_not_waited_for_longer_than_the_grace_period(self, served, tmp_path, event):
        calls = tmp_path / "calls"
        calls.touch()
        with served("answers", CALLS=calls, RELEASE=tmp_path / "never", EXTENSION_GRACE_PERIOD=2) as server:
            reply = server.post("/events/waits", event("killswitch.engaged"), {"Request-Timeout": "0.1"})
            assert reply.status == 503
            assert server.stop() == 143

    def test_a_request_that_is_not_answered_by_then_is_to_come_again(self, served, tmp_path, event):
        calls = tmp_path / "calls"
        calls.touch()
        with (
            served("answers", CALLS=calls, RELEASE=tmp_path / "never", EXTENSION_GRACE_PERIOD=2) as server,
            ThreadPoolExecutor() as sender,
        ):
            sent = sender.submit(server.post, "/events/waits", event("killswitch.engaged"))
            wait_until(lambda: "waits" in calls.read_text())
            assert server.stop() == 143
            reply = sent.result(30)
            assert (reply.status, reply.json["title"]) == (503, "The server stops")
            assert int(reply.headers["retry-after"]) >= 1
            assert "Traceback" not in server.log


class TestWorkers:
    def test_they_say_the_same_and_one_that_dies_is_replaced(self, served):
        with served("oncall", EXTENSION_WEB_WORKERS=2) as server:
            wait_until(lambda: len(server.children("serve")) == 2)
            tags = {server.request("GET", "/").headers["etag"] for _ in range(20)}
            first = server.children("serve").pop()
            os.kill(first, signal.SIGKILL)
            wait_until(lambda: len(server.children("serve")) == 2 and first not in server.children("serve"))
            wait_until(lambda: is_ready(server))

            def tag():  # what the killed one had not taken up yet is reset
                with suppress(ConnectionError):
                    return server.request("GET", "/").headers["etag"]

            tags.add(wait_until(tag))
            assert len(tags) == 1
        with served("oncall") as restarted:
            assert restarted.request("GET", "/").headers["etag"] in tags

    def test_they_end_when_the_arbiter_is_killed(self, served):
        with served("oncall", EXTENSION_WEB_WORKERS=2) as server:
            wait_until(lambda: len(server.children("serve")) == 2)
            orphans = server.children("serve")
            server.process.kill()
            wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in orphans))

    def test_readiness_is_off_while_there_is_no_worker(self, start, tmp_path):
        path = tmp_path / "slow.py"
        gate = tmp_path / "gate"
        path.write_text(
            f"import pathlib, time\nwhile not pathlib.Path({str(gate)!r}).exists(): time.sleep(0.01)\n" + ONCALL
        )
        with start(path) as server:
            wait_until(lambda: server.health("liveness") == 200)
            assert server.health("readiness") == 503
            gate.touch()
            wait_until(lambda: is_ready(server))

    def test_reload_takes_up_a_change_and_survives_a_broken_one(self, start, oncall):
        with run_server([*SERVE, "--reload", str(oncall)], oncall.with_suffix(".log"), cwd=oncall.parent) as server:
            wait_until(lambda: is_ready(server))

            def paths():
                try:
                    reply = server.request("GET", "/")
                except OSError:
                    return None
                return (
                    [entry["path"] for entry in reply.json["eventListeners"]] if reply.status == 200 else reply.status
                )

            moments = itertools.count(int(time.time()) + 5, 5)

            def change(code, expected):
                oncall.write_text(code)
                moment = next(moments)
                os.utime(oncall, (moment, moment))
                wait_until(lambda: paths() == expected)

            assert paths() == ["/events/page"]
            change("def (", 500)
            assert server.health("readiness") == 503
            change(ONCALL.replace("page", "wake"), ["/events/wake"])

    def test_reload_takes_up_a_change_made_while_the_file_is_loaded(self, oncall, tmp_path):
        loading, gate = tmp_path / "loading", tmp_path / "gate"
        oncall.write_text(
            f"import pathlib, time\npathlib.Path({str(loading)!r}).touch()\n"
            f"while not pathlib.Path({str(gate)!r}).exists(): time.sleep(0.01)\n" + ONCALL
        )
        with run_server([*SERVE, "--reload", str(oncall)], oncall.with_suffix(".log"), cwd=oncall.parent) as server:
            wait_until(loading.exists)
            oncall.write_text(ONCALL.replace("page", "wake"))
            gate.touch()
            wait_until(lambda: "/events/wake" in server.log)
            wait_until(lambda: is_ready(server))


class TestOtherListeners:
    @pytest.mark.parametrize("given", [{}, {"EXTENSION_UNIX_SOCKET_MODE": "0606"}])
    def test_who_may_connect_to_a_unix_socket(self, start, oncall, tmp_path, given):
        path = tmp_path / "extension.sock"
        with start(oncall, STEADYBIT_EXTENSION_UNIX_SOCKET=path, **given):
            wait_until(path.is_socket)
            assert oct(path.stat().st_mode & 0o777) == oct(0o606 if given else 0o660)

    def test_a_unix_socket(self, start, oncall, tmp_path):
        path = tmp_path / "run" / "extension.sock"
        with start(oncall, STEADYBIT_EXTENSION_UNIX_SOCKET=path) as server:
            wait_until(path.is_socket)

            def get(target):
                connection = http.client.HTTPConnection("localhost", timeout=30)
                connection.sock = socket.socket(socket.AF_UNIX)
                try:
                    connection.sock.connect(str(path))
                    connection.request("GET", target)
                    reply = connection.getresponse()
                    return reply.status, reply.read()
                except ConnectionRefusedError:  # bound, but not listening yet
                    return 0, b""
                finally:
                    connection.close()

            wait_until(lambda: get("/health/liveness")[0] == 200)
            assert json.loads(get("/")[1])["eventListeners"][0]["path"] == "/events/page"
            assert get("/health/readiness") == (200, b"")
            assert server.health("readiness") == 0
            assert server.stop() == 143
        with start(oncall, STEADYBIT_EXTENSION_UNIX_SOCKET=path):
            wait_until(lambda: path.is_socket() and get("/health/liveness")[0] == 200)

    @pytest.mark.parametrize(
        ("address", "workers", "families", "reached"),
        [
            (None, 1, "IPv4 and IPv6", {"127.0.0.1", "::1"}),
            (None, 2, "IPv4 and IPv6", {"127.0.0.1", "::1"}),
            ("::", 1, "IPv4 and IPv6", {"127.0.0.1", "::1"}),
            ("0.0.0.0", 1, "0.0.0.0", {"127.0.0.1"}),
            ("::1", 2, "::1", {"::1"}),
        ],
    )
    def test_both_ports_listen_where_they_are_told(self, start, oncall, address, workers, families, reached):
        given = {} if address is None else {"EXTENSION_BIND_ADDRESS": address}
        with start(oncall, EXTENSION_WEB_WORKERS=workers, **given) as server:

            def status(host, port, path):
                connection = http.client.HTTPConnection(host, port, timeout=30)
                try:
                    connection.request("GET", path)
                    return connection.getresponse().status
                except ConnectionError:
                    return 0
                finally:
                    connection.close()

            wait_until(lambda: {status(host, server.port, "/") for host in reached} == {200})
            for port, path in ((server.port, "/"), (server.health_port, "/health/liveness")):
                assert {host for host in ("127.0.0.1", "::1") if status(host, port, path) == 200} == reached
            assert f"http server on port {server.port} ({families})" in server.log
            assert f"probes server on port {server.health_port} ({families})" in server.log


class TestTls:
    @pytest.fixture
    def authority(self):
        return trustme.CA()

    @pytest.fixture
    def files(self, authority, tmp_path):
        certificate = authority.issue_cert("127.0.0.1")
        certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
        certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
        return {
            "STEADYBIT_EXTENSION_TLS_SERVER_CERT": tmp_path / "cert.pem",
            "STEADYBIT_EXTENSION_TLS_SERVER_KEY": tmp_path / "key.pem",
        }

    def serial(self, server, authority, client=None):
        """The serial number of the certificate the server shows."""
        context = ssl.create_default_context()
        authority.configure_trust(context)
        if client:
            client.configure_cert(context)
        connection = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=30, context=context)
        try:
            connection.request("GET", "/")
            assert connection.getresponse().status == 200
            return connection.sock.getpeercert()["serialNumber"]
        finally:
            connection.close()

    def test_https_with_plain_health_and_a_rotated_certificate(self, start, oncall, authority, files, tmp_path):
        with start(oncall, **files) as server:
            wait_until(lambda: is_ready(server))
            assert "https server" in server.log
            before = self.serial(server, authority)
            renewed = authority.issue_cert("127.0.0.1")
            renewed.private_key_pem.write_to_path(tmp_path / "key.pem")
            renewed.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
            wait_until(lambda: self.serial(server, authority) != before)

    @pytest.mark.parametrize("kind", ["file", "folder"])
    def test_clients_without_a_certificate_are_refused(self, start, oncall, authority, files, tmp_path, kind):
        clients = trustme.CA()
        folder = tmp_path / "clients"
        folder.mkdir()
        clients.cert_pem.write_to_path(folder / "ca.pem")
        place = folder if kind == "folder" else folder / "ca.pem"
        with start(oncall, STEADYBIT_EXTENSION_TLS_CLIENT_CAS=place, **files) as server:
            wait_until(lambda: is_ready(server))
            assert "RequireAndVerifyClientCert" in server.log
            assert self.serial(server, authority, clients.issue_cert("agent@example.com"))
            for client in (None, trustme.CA().issue_cert("agent@example.com")):
                with pytest.raises((ssl.SSLError, ConnectionError)):
                    self.serial(server, authority, client)
            assert "Traceback" not in server.log
            assert server.log.count("A client shows no certificate, and STEADYBIT_EXTENSION_TLS_CLIENT_CAS") == 1
            assert server.log.count("A client's certificate is not signed by a CA in") == 1
            authority.cert_pem.write_to_path(tmp_path / "authority.pem")
            agent = extension_kit("agent", f"https://127.0.0.1:{server.port}", "--ca", tmp_path / "authority.pem")
            assert "it demands a certificate of the agent: give --client-cert FILE" in agent.stdout + agent.stderr

    @pytest.mark.parametrize("scheme", ["http", "https"])
    def test_a_client_that_speaks_the_other_is_one_line(self, start, oncall, files, scheme):
        with start(oncall, **(files if scheme == "https" else {})) as server:
            wait_until(lambda: is_ready(server))
            called, other = ("http", "https") if scheme == "https" else ("https", "http")
            for _ in range(2):
                agent = extension_kit("agent", f"{called}://127.0.0.1:{server.port}")
                assert agent.returncode == 1
                assert f"call {other}://127.0.0.1:{server.port}" in agent.stdout + agent.stderr
            said = "A client speaks plain HTTP to" if scheme == "https" else "A client speaks TLS to"
            assert server.log.count(f"{said} the extension port") == 1
            assert "Invalid HTTP request" not in server.log
            assert "Traceback" not in server.log


class TestBasicAuthentication:
    CREDENTIALS = {  # noqa: RUF012
        "STEADYBIT_EXTENSION_BASIC_USERNAME": "agent",
        "STEADYBIT_EXTENSION_BASIC_PASSWORD": "pass:wörd",
    }

    @pytest.mark.parametrize("edge", ["asgi", "flask"])
    def test_it_is_asked_for_everywhere_but_by_probes(self, served, edge, event):
        import base64

        good = "Basic " + base64.b64encode("agent:pass:wörd".encode()).decode()
        wrong = [None, "", "Basic", "Basic ###", "Bearer x", "Basic " + base64.b64encode(b"agent:no").decode()]
        body = json.dumps(event("experiment.execution.failed")).encode()
        with served("oncall", edge=edge, **self.CREDENTIALS) as server:
            for method, path, content in [("GET", "/", None), ("POST", "/events/page", body), ("GET", "/no", None)]:
                for header in wrong:
                    reply = server.request(method, path, content, {"Authorization": header} if header else {})
                    assert reply.status == 401
                    assert reply.headers["www-authenticate"].startswith("Basic")
                    assert reply.json["title"]
                assert server.request(method, path, content, {"Authorization": good}).status in (200, 404)
            assert server.request("GET", "/health/liveness").status == 200
            assert "pass" not in server.log


class TestLogs:
    def test_every_request_is_one_line(self, served, event):
        with served("oncall", STEADYBIT_LOG_FORMAT="json") as server:
            server.post("/events/page", event("experiment.execution.failed"), {"Request-Id": "findme"})
            line = wait_until(lambda: next((line for line in server.log.splitlines() if "findme" in line), None))
        entry = json.loads(line)
        assert entry["level"] == "info"
        assert (entry["method"], entry["url"], entry["status"], entry["res_size"]) == ("POST", "/events/page", 200, 2)
        assert entry["duration"] >= 0
        assert entry["req_size"] > 500

    def test_bodies_are_logged_at_debug_only_and_without_secrets(self, served, event):
        body = event("experiment.execution.failed", variables={"password": "hunter2"}, name="find-this-name")
        with served("oncall", STEADYBIT_LOG_LEVEL="debug") as server:
            server.post("/events/page", body)
            assert "received" in wait_until(lambda: server.log if "received" in server.log else None)
            assert "find-this-name" in server.log
            assert "hunter2" not in server.log

    def test_a_failing_function_leaves_one_traceback(self, served, event):
        with served("answers") as server:
            server.post("/events/broken", event("killswitch.engaged"))
            wait_until(lambda: "Traceback" in server.log)
            assert server.log.count("Traceback") == 1
            assert "the pager is out of order" in server.log


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One server for all bad clients, which must be as good as new after them."""
    log = tmp_path_factory.mktemp("bad") / "log"
    with serve_app("oncall", log, EXTENSION_READ_TIMEOUT=1, EXTENSION_MAX_BODY_BYTES=100_000) as server:
        yield server
        assert server.request("GET", "/").status == 200
        assert "Traceback" not in server.log


class TestBadClients:
    """None of them gets more than a 4xx, and the next request is served."""

    def read_all(self, connection):
        data = b""
        with suppress(ConnectionError):
            while chunk := connection.recv(65536):
                data += chunk
        return data

    def talk(self, server, data):
        with server.raw() as connection:
            with suppress(ConnectionError):
                connection.sendall(data)
            return self.read_all(connection)

    @pytest.mark.parametrize(
        ("data", "status"),
        [
            (b"nonsense\r\n\r\n", 400),
            (b"GET / HTTP/9.9\r\n\r\n", 400),
            (b"\x16\x03\x01\x02\x00\x01\x00", 400),
            (b"POST /events/page HTTP/1.1\r\nHost: a\r\nContent-Length: five\r\n\r\n", 400),
            (b"POST /events/page HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n", 400),
            (b"POST /events/page HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", 400),
            (b"POST /events/page HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
            (b"POST /events/page HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nHost: a\r\nBad Header: x\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 1000 + b"\r\n", 431),
            (b"GET / HTTP/1.1\r\nA: " + b"b" * 1_000_000 + b"\r\n\r\n", 431),
            (b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\n\r\n", 431),
            (b"GET / HTTP/1.1\r\nHost: a\r\n", 408),
            (b"", 408),
            (b"POST /events/page HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\nhalf", 408),
        ],
        ids=lambda value: repr(value[:60]) if isinstance(value, bytes) else None,
    )
    def test_what_is_no_request_is_refused(self, server, data, status):
        reply = self.talk(server, data)
        assert reply.split(b"\r\n")[0].split(b" ")[1] == b"%d" % status
        assert b"content-type: application/json" in reply
        assert server.request("GET", "/").status == 200

    def test_endless_trailers_are_cut_off(self, server):
        head = b"POST /events/page HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: "
        assert self.talk(server, head + b"a" * 2_000_000).split(b" ")[1] == b"431"

    def test_many_chunks_are_no_trailers(self, server, event):
        content = json.dumps(event("experiment.execution.failed")).encode() + b" " * 40_000
        chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in content)
        head = b"POST /events/page HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert self.talk(server, head + chunks + b"0\r\n\r\n").startswith(b"HTTP/1.1 200 ")

    def test_a_client_that_leaves_in_the_middle_leaves_nothing(self, server):
        for _ in range(20):
            with server.raw() as connection:
                connection.sendall(b"POST /events/page HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\nhalf")
        assert server.request("GET", "/").status == 200

    def test_slow_clients_hold_up_nobody(self, server, event):
        slow = [server.raw() for _ in range(50)]
        try:
            for connection in slow:
                connection.sendall(b"POST /events/page HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\n{")
            assert server.post("/events/page", event("experiment.execution.failed")).status == 200
            assert all(b" 408 " in self.read_all(connection) for connection in slow)
        finally:
            for connection in slow:
                connection.close()

    def test_a_client_that_drips_is_cut_off(self, server):
        with server.raw() as connection:
            connection.settimeout(30)
            stop = threading.Event()

            def drip():
                try:
                    while not stop.wait(0.05):
                        connection.send(b"A: b\r\n")
                except OSError:
                    pass

            connection.sendall(b"GET / HTTP/1.1\r\n")
            dripping = threading.Thread(target=drip)
            dripping.start()
            try:
                assert b" 408 " in self.read_all(connection)
            finally:
                stop.set()
                dripping.join(30)

    def test_a_body_over_the_limit_is_answered_although_it_is_still_coming(self, server):
        with server.raw() as connection:
            connection.sendall(
                b"POST /events/page HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n" + b"x" * 900_000
            )
            assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert b" 200 OK" in self.read_all(connection)

    def test_requests_sent_ahead_are_answered_in_order(self, server):
        one = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        other = b"GET /no HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        reply = self.talk(server, one * 3 + other)
        assert re.findall(rb"HTTP/1.1 (\d+)", reply) == [b"200", b"200", b"200", b"404"]

    @pytest.mark.parametrize("pieces", [1, 5])
    @pytest.mark.parametrize("chunked", [False, True])
    def test_an_offer_of_another_protocol_is_declined(self, server, event, pieces, chunked):
        """As Java's HTTP clients make it: the request is one like any other."""
        body = json.dumps(event("experiment.execution.failed")).encode()
        framed, body = (
            (b"Transfer-Encoding: chunked", b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
            if chunked
            else (b"Content-Length: %d" % len(body), body)
        )
        offer = b"Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAEAAEAA\r\nUpgrade: h2c\r\n"
        last = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        data = b"POST /events/page HTTP/1.1\r\nHost: a\r\n" + offer + framed + b"\r\n\r\n" + body
        with server.raw() as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for place in range(0, len(data), len(data) // pieces):
                connection.sendall(data[place : place + len(data) // pieces])
            connection.sendall(last)
            reply = self.read_all(connection)
        assert re.findall(rb"HTTP/1.1 (\d+)", reply) == [b"200", b"200"]
        assert b"{}HTTP/1.1" in reply
        assert b"eventListeners" in reply


class TestLoad:
    def test_connections_are_bounded(self, served):
        with served("oncall", EXTENSION_MAX_CONNECTIONS=5) as server:
            open_ones = [server.raw() for _ in range(5)]
            try:
                reply = server.request("GET", "/")
                assert (reply.status, reply.headers["retry-after"]) == (503, "1")
            finally:
                for connection in open_ones:
                    connection.close()
            wait_until(lambda: server.request("GET", "/").status == 200)

    def test_what_functions_print_comes_in_whole_lines_and_is_not_lost(self, served, event):
        with served("prints", EXTENSION_WEB_THREADS=16) as server:

            def send():
                for _ in range(50):
                    assert server.post("/events/prints", event("killswitch.engaged")).status == 200

            senders = [threading.Thread(target=send) for _ in range(8)]
            for sender in senders:
                sender.start()
            for sender in senders:
                sender.join(60)
            assert server.stop() == 143
        assert sum(line == "printed by a function: " + "x" * 200 for line in server.log.splitlines()) == 400
        assert "\natexit\n" in server.log

    def test_no_exception_takes_a_thread_with_it(self, served, event):
        with served("answers", EXTENSION_WEB_THREADS=1) as server:
            for number in range(5):
                for turn in "ab":
                    reply = server.post("/events/raises", event("killswitch.engaged", id=f"{number}-{turn}"))
                    assert (reply.status, reply.json["title"]) == (500, "The event listener failed")
            assert server.post("/events/fine", event("killswitch.engaged")).status == 200

    def test_events_beyond_threads_and_queue_are_told_to_come_again(self, served, tmp_path, event):
        calls, release = tmp_path / "calls", tmp_path / "release"
        calls.touch()
        limits = {"EXTENSION_WEB_THREADS": 1, "EXTENSION_QUEUE_LIMIT": 1, "CALLS": calls, "RELEASE": release}
        with served("answers", **limits) as server:
            replies = []

            def send():
                replies.append(server.post("/events/waits", event("killswitch.engaged")))

            first = threading.Thread(target=send)
            first.start()
            wait_until(lambda: "waits" in calls.read_text())
            others = [threading.Thread(target=send) for _ in range(5)]
            for thread in others:
                thread.start()
            wait_until(lambda: len(replies) == 4)
            assert {reply.status for reply in replies} == {503}
            assert {reply.headers["retry-after"] for reply in replies} == {"1"}
            release.touch()
            for thread in [first, *others]:
                thread.join(30)
            assert [reply.status for reply in replies[4:]] == [200, 200]

    def test_an_event_that_waited_too_long_is_not_run_after_its_503(self, served, tmp_path, event):
        calls, release = tmp_path / "calls", tmp_path / "release"
        calls.touch()
        with served("answers", EXTENSION_WEB_THREADS=1, CALLS=calls, RELEASE=release) as server:
            blocker = threading.Thread(target=lambda: server.post("/events/waits", event("killswitch.engaged")))
            blocker.start()
            wait_until(lambda: "waits" in calls.read_text())
            late = event("killswitch.engaged", id="late")
            assert server.post("/events/fine", late, {"Request-Timeout": "0.1"}).status == 503
            release.touch()
            blocker.join(30)
            assert server.post("/events/fine", event("killswitch.engaged", id="next")).status == 200
            assert "fine late" not in calls.read_text()
            assert server.post("/events/fine", late).status == 200
            assert calls.read_text().count("fine late") == 1

    def test_memory_does_not_grow_with_what_bad_clients_send(self, served, event):
        def resident(pid):
            with open(f"/proc/{pid}/statm") as file:
                return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

        bodies = [b"{" + b"x" * 500_000, b"[" * 10_000, json.dumps({"id": "x" * 500_000, "eventName": "a"}).encode()]
        with served("answers", STEADYBIT_LOG_LEVEL="error") as server:
            (worker,) = server.children("serve")
            numbers = iter(range(1_000_000))

            def round_of_requests():
                for _ in range(10):
                    for body in bodies:
                        assert server.post("/events/fine", body).status in (400, 422)
                    long_id = f"{next(numbers)}" + "y" * 500_000
                    assert server.post("/events/fine", event("user.invited", id=long_id)).status == 200

            for _ in range(3):
                round_of_requests()
            before = resident(worker)
            for _ in range(10):
                round_of_requests()
            # A hundred ids of half a megabyte would be 50 MB more if they were kept.
            assert resident(worker) - before < 20_000_000


def test_flask_runs_it_too(tmp_path, oncall, start):
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "flask",
        "--app",
        f"extension_kit.wsgi:create_app('{oncall}')",
        "run",
        "-p",
        str(port),
    ]
    with run_server(command, tmp_path / "flask.log", cwd=APPS) as server:
        server.port = port

        def status():
            assert server.process.poll() is None, server.log
            try:
                return server.request("GET", "/").status
            except ConnectionError:
                return 0

        wait_until(lambda: status() == 200)
