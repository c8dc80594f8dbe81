"""The event log as people run it: alone or beside ``serve``, at its own port, with clients of all kinds."""

import http.client
import json
import os
import re
import select
import signal
import socket
import ssl
import sys
import threading
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import trustme

from tests.support.event_log import PASSWORD, basic
from tests.support.servers import KIT, SERVE, Served, ready, run_server
from tests.support.waiting import wait_until

EVENT_LOG = [KIT, "event-log"]
OPEN = {"EXTENSION_EVENT_LOG_OPEN": "loopback"}
WITH_PASSWORD = {"EXTENSION_EVENT_LOG_PASSWORD": PASSWORD}
PROXY = {
    "EXTENSION_EVENT_LOG_TRUSTED_HEADER": "X-Forwarded-User",
    "EXTENSION_EVENT_LOG_TRUSTED_PROXIES": "127.0.0.0/8",
}
LISTENER = """
import sys
from extension_kit import Extension

extension = Extension("extension-oncall")
extension.extend_index(lambda: {"loaded": sorted(sys.modules)})

@extension.listen_to("*")
def page(event):
    print("paged for", event.id, flush=True)
"""


class EventLog(Served):
    """An event log in a process of its own, or beside a server."""

    def __init__(self, process, port, health_port, log):
        super().__init__(process, port, health_port, log)
        self.server_port = port

    def find_port(self):
        """Wait until it says where it is, and return the whole address."""

        def said():
            assert self.process.poll() is None, self.log
            return re.search(r"Event log at (https?://\S+:(\d+)/)", self.log)

        found = wait_until(said)
        self.port = int(found[2])
        return found[1]

    def of_itself(self):
        """The process of the event log, beside a server."""
        (found,) = wait_until(lambda: self.children("event-log"))
        return found


@pytest.fixture
def start(tmp_path):
    """Start a command that serves an event log at a free port: ``with start(*EVENT_LOG, **settings) as event_log``."""

    @contextmanager
    def start(*command, waits=True, **environment):
        environment = {"EXTENSION_EVENT_LOG_PORT": "0", **environment}
        with run_server([*map(str, command)], tmp_path / "log", cwd=tmp_path, kind=EventLog, **environment) as found:
            if waits:
                found.find_port()
            yield found

    return start


@pytest.fixture
def oncall(tmp_path):
    path = tmp_path / "oncall.py"
    path.write_text(LISTENER)
    return path


class TestAlone:
    @pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
    def test_it_says_where_it_is_and_stops_on_a_signal(self, start, number, code):
        with start(*EVENT_LOG, **OPEN) as event_log:
            assert event_log.find_port() == f"http://127.0.0.1:{event_log.port}/"
            assert event_log.request("GET", "/health").body == b"OK\n"
            page = event_log.request("GET", "/")
            assert (page.status, b"There is nothing yet" in page.body) == (200, True)
            assert event_log.stop(number) == code
            assert " ERR " not in event_log.log
            assert "Traceback" not in event_log.log

    def test_it_knows_extensions(self, start, oncall):
        with start(*EVENT_LOG, oncall, **OPEN) as event_log:
            assert event_log.request("GET", "/").status == 200

    def test_an_extension_that_cannot_be_loaded_stops_the_start(self, start, tmp_path):
        (tmp_path / "broken.py").write_text("1 / 0")
        assert "ZeroDivisionError" in refused(start, *EVENT_LOG, "broken.py", **OPEN)

    def test_it_is_at_its_address_only(self, start):
        with start(*EVENT_LOG, **OPEN, EXTENSION_EVENT_LOG_ADDRESS="127.0.0.2") as event_log:
            assert event_log.find_port().startswith("http://127.0.0.2:")
            with pytest.raises(ConnectionRefusedError):
                event_log.request("GET", "/health")

    def test_misspelt_settings_are_warned_of(self, start):
        with start(*EVENT_LOG, **OPEN, EXTENSION_EVENT_LOG_REED_ONLY="true", STEADYBIT_LOG_LEVEL="debug") as event_log:
            assert "_REED_ONLY is not a setting: did you mean EXTENSION_EVENT_LOG_READ_ONLY?" in event_log.log
            assert "STEADYBIT_EXTENSION_HEALTH_PORT do nothing in an event log" in event_log.log

    @pytest.mark.parametrize("tls", [False, True])
    def test_a_password_in_plain_text_is_warned_of(self, start, tmp_path, tls):
        address = {"EXTENSION_EVENT_LOG_ADDRESS": "0.0.0.0"}
        with start(*EVENT_LOG, **WITH_PASSWORD, **address, **(certificate(tmp_path)[0] if tls else {})) as event_log:
            assert ("crosses the network in plain text" in event_log.log) is not tls
            assert PASSWORD not in event_log.log


def refused(start, *command, **environment):
    """The one line by which a command refuses to start."""
    with start(*command, waits=False, **environment) as event_log:
        assert event_log.process.wait(30) == 2, event_log.log
        (line,) = event_log.log.splitlines()
        return line


@pytest.mark.parametrize("command", [EVENT_LOG, [*SERVE, "oncall.py"]], ids=["alone", "beside"])
class TestRefusingToStart:
    @pytest.mark.parametrize(
        ("settings", "problem"),
        [
            ({}, "The event log has no password: set EXTENSION_EVENT_LOG_PASSWORD"),
            ({"EXTENSION_EVENT_LOG_PASSWORD": "hush123"}, "it has fewer than 8 characters"),
            ({**OPEN, "EXTENSION_EVENT_LOG_ADDRESS": "0.0.0.0"}, "EXTENSION_EVENT_LOG_ADDRESS is 0.0.0.0"),
            ({**OPEN, "EXTENSION_EVENT_LOG_PORT": "many"}, 'EXTENSION_EVENT_LOG_PORT is "many"'),
            ({**OPEN, "EXTENSION_EVENT_LOG_ADDRESS": "127.0.0.1x"}, "an IP address"),
            (
                {**WITH_PASSWORD, "EXTENSION_EVENT_LOG_ADDRESS": "192.0.2.1"},
                "set EXTENSION_EVENT_LOG_ADDRESS to an address of this machine",
            ),
            (
                {"EXTENSION_EVENT_LOG_TRUSTED_HEADER": "X-Forwarded-User"},
                "EXTENSION_EVENT_LOG_TRUSTED_PROXIES is not set",
            ),
        ],
    )
    def test_bad_settings(self, start, oncall, command, settings, problem):
        line = refused(start, *command, **settings)
        assert line.startswith("extension-kit: ")
        assert problem in line
        assert "hush" not in line

    def test_a_taken_port(self, start, oncall, command):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            line = refused(start, *command, **OPEN, EXTENSION_EVENT_LOG_PORT=port)
        assert line == (
            f"extension-kit: event log port {port} on 127.0.0.1 cannot be used (Address already in use): stop the "
            "process that uses it or set EXTENSION_EVENT_LOG_PORT"
        )


class TestBesideAServer:
    def test_it_ends_with_it(self, start, oncall):
        with start(*SERVE, oncall, **OPEN) as event_log:
            of_itself = event_log.of_itself()
            assert event_log.request("GET", "/").status == 200
            assert niceness(of_itself) == 10
            assert event_log.stop() == 143
            assert not os.path.exists(f"/proc/{of_itself}")
            assert " ERR " not in event_log.log

    def test_it_ends_when_the_server_is_killed(self, start, oncall):
        with start(*SERVE, oncall, **OPEN) as event_log:
            of_itself = event_log.of_itself()
            event_log.process.kill()
            event_log.process.wait(30)
            wait_until(lambda: has_ended(of_itself))

    def test_killed_it_is_restarted_at_its_port(self, start, oncall, event):
        with start(*SERVE, oncall, **OPEN) as event_log:
            first = event_log.of_itself()
            port = event_log.port
            os.kill(first, signal.SIGKILL)
            wait_until(lambda: event_log.children("event-log") not in ({first}, set()))
            assert event_log.request("GET", "/").status == 200
            assert event_log.find_port() == f"http://127.0.0.1:{port}/"
            assert "Event log exited (code -9), restarting in 0 s" in event_log.log
            event_log.port = event_log.server_port
            assert event_log.post("/events/page", event("killswitch.engaged")).status == 200

    def test_frozen_it_is_replaced_at_its_port(self, start, oncall):
        soon = {"EXTENSION_STALLED_AFTER": "1", "EXTENSION_STORE_TIMEOUT": "0.5"}
        with start(*SERVE, oncall, **OPEN, **soon) as event_log:
            first = event_log.of_itself()
            assert event_log.request("GET", "/").status == 200
            os.kill(first, signal.SIGSTOP)
            wait_until(lambda: event_log.children("event-log") not in ({first}, set()))
            assert has_ended(first)
            assert event_log.request("GET", "/").status == 200
            assert re.search("Event log killed: no sign of life for [0-9.]+ s", event_log.log)
            assert "Event log exited" not in event_log.log

    def test_a_changed_file_is_loaded_by_it_too(self, start, oncall):
        with start(*SERVE, oncall, "--reload", **OPEN) as event_log:
            first = event_log.of_itself()
            oncall.write_text("1 / 0")
            wait_until(lambda: re.search("Event log without extensions: .*ZeroDivisionError", event_log.log))
            assert event_log.request("GET", "/").status == 200
            second = event_log.of_itself()
            oncall.write_text(LISTENER)
            wait_until(lambda: event_log.children("event-log") - {first, second})
            assert event_log.request("GET", "/").status == 200
            assert "Event log exited" not in event_log.log

    def test_an_extension_that_cannot_be_loaded_is_said_once(self, start, tmp_path):
        (tmp_path / "oncall.py").write_text("1 / 0")
        with start(*SERVE, "oncall.py", waits=False, **OPEN) as event_log:
            assert event_log.process.wait(30) == 2
            assert event_log.log.count("ZeroDivisionError") == 1
            assert "Event log" not in event_log.log

    @pytest.mark.parametrize("options", [[], ["--no-worker"]])
    def test_without_its_setting_nothing_of_it_is_there(self, start, oncall, options):
        with start(*SERVE, oncall, *options, waits=False, **WITH_PASSWORD, EXTENSION_EVENT_LOG_PORT="") as server:
            ready(server)
            loaded = server.request("GET", "/").json["loaded"]
            assert "extension_kit.web.app" in loaded
            assert [name for name in loaded if name.startswith("extension_kit.event_log")] == []
            assert server.children("event-log") == set()

    def test_the_web_process_does_not_hold_its_port(self, start, oncall):
        with start(*SERVE, oncall, **OPEN) as event_log:
            event_log.port = event_log.server_port
            assert not any(
                name.startswith("extension_kit.event_log") for name in event_log.request("GET", "/").json["loaded"]
            )
            (web,) = event_log.children("serve")
            inode = listening_inode(int(re.search(r"Event log at http://127.0.0.1:(\d+)", event_log.log)[1]))
            assert f"socket:[{inode}]" in open_files(event_log.process.pid) & open_files(event_log.of_itself())
            assert f"socket:[{inode}]" not in open_files(web)


def niceness(process):
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[16])


def has_ended(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


def listening_inode(port):
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    (inode,) = [line[9] for line in lines if line[1].endswith(f":{port:04X}") and line[3] == "0A"]
    return inode


def open_files(process):
    folder = f"/proc/{process}/fd"
    return {os.readlink(f"{folder}/{name}") for name in os.listdir(folder)}


def certificate(folder):
    """The settings of TLS, and a context for clients."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    (folder / "cert.pem").write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    settings = {
        "STEADYBIT_EXTENSION_TLS_SERVER_CERT": folder / "cert.pem",
        "STEADYBIT_EXTENSION_TLS_SERVER_KEY": folder / "key.pem",
    }
    return settings, context


class TestClients:
    def test_tls_is_that_of_the_server_without_certificates_of_agents(self, start, oncall, tmp_path):
        settings, context = certificate(tmp_path)
        (tmp_path / "agents.pem").write_bytes(trustme.CA().cert_pem.bytes())
        settings["STEADYBIT_EXTENSION_TLS_CLIENT_CAS"] = tmp_path / "agents.pem"
        with start(*SERVE, oncall, **WITH_PASSWORD, **settings) as event_log:
            assert event_log.find_port().startswith("https://127.0.0.1:")
            with closing(
                http.client.HTTPSConnection("127.0.0.1", event_log.port, context=context, timeout=30)
            ) as client:
                client.request("GET", "/login")
                answer = client.getresponse()
                assert answer.status == 200
                assert answer.headers["Set-Cookie"].startswith(f"__Host-event-log-anonymous-{event_log.port}=")
                assert "; Secure" in answer.headers["Set-Cookie"]
            event_log.stop()
            assert " ERR " not in event_log.log

    def test_slow_ones_hold_up_nobody(self, start):
        with start(*EVENT_LOG, **OPEN) as event_log:
            slow = [event_log.raw() for _ in range(40)]
            for number, client in enumerate(slow):
                client.sendall(b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n")
                client.sendall(number % 2 * b"\r\n")
            assert event_log.request("GET", "/").status == 200
            for client in slow:
                client.close()

    def test_those_that_take_too_long_are_let_go(self, start):
        with start(*EVENT_LOG, **OPEN, EXTENSION_READ_TIMEOUT="0.2") as event_log, event_log.raw() as client:
            client.sendall(b"GET / HTTP/1.1\r\n")
            assert client.recv(1000).startswith(b"HTTP/1.1 408 ")

    def test_large_bodies_are_refused_before_they_are_sent(self, start):
        with start(*EVENT_LOG, **OPEN) as event_log:
            assert event_log.request("POST", "/login", 65 * 1024 * b"x", {"Host": "localhost"}).status == 413
            assert event_log.request("POST", "/login", iter(65 * [1024 * b"x"]), chunked=True).status == 413

    def test_hostile_heads_get_nothing(self, start):
        with start(*EVENT_LOG, **WITH_PASSWORD) as event_log:
            for host in ("rebound.example", "[", "a@b", "\xff"):
                assert event_log.request("GET", "/login", headers={"Host": host}).status == 400
            with event_log.raw() as client:
                client.sendall(b"GET / HTTP/1.0\r\n\r\n")
                assert client.recv(1000).startswith(b"HTTP/1.1 400 ")
            assert event_log.request("GET", "//").status == 303
            assert event_log.request("GET", "/static/../app.py").status == 404
            assert event_log.request("GET", "/static/%2e%2e/app.py").status == 404
            assert " ERR " not in event_log.log

    def test_too_many_requests_at_a_time_are_told_to_come_again(self, start, tmp_path):
        (tmp_path / "held.py").write_text(HELD)
        with start(sys.executable, "held.py", **OPEN) as event_log:
            clients = [event_log.connect() for _ in range(64)]
            for client in clients:
                client.request("GET", "/nothing-here")
            wait_until(lambda: event_log.log.count("held\n") == 8)

            def refused():
                """The answer to a further request, if it does not wait like the others."""
                client = event_log.connect()
                client.request("GET", "/health")
                if not select.select([client.sock], [], [], 0.5)[0]:
                    clients.append(client)
                    return None
                with closing(client):
                    return client.getresponse()

            busy = wait_until(refused)
            assert (busy.status, busy.headers["retry-after"]) == (503, "1")
            (tmp_path / "go-on").touch()
            statuses = [client.getresponse().status for client in clients]
            for client in clients:
                client.close()
            assert len(statuses) - statuses.count(503) == 64
            assert set(statuses) <= {200, 404, 503}
            assert event_log.request("GET", "/health").status == 200


HELD = """
import os, time
from extension_kit.event_log.database_state import DatabaseState
from extension_kit.cli import commands

def hold(state):
    print("held", flush=True)
    while not os.path.exists("go-on"):
        time.sleep(0.02)

DatabaseState.check = hold
commands(["event-log"])
"""


class TestTrustedHeader:
    def answer(self, event_log, *headers):
        """Ask for a page with header lines as they are."""
        with event_log.raw() as client:
            lines = ["GET / HTTP/1.1", "Host: localhost", "Connection: close", *headers, "", ""]
            client.sendall("\r\n".join(lines).encode())
            received = b"".join(iter(lambda: client.recv(65536), b""))
        return int(received.split()[1])

    def test_of_a_proxy(self, start):
        with start(*EVENT_LOG, **PROXY) as event_log:
            assert self.answer(event_log, "X-Forwarded-User: ann") == 200
            assert self.answer(event_log, "x-forwarded-user: ann") == 200
            assert self.answer(event_log) == 303

    def test_that_could_be_mistaken_for_another(self, start):
        with start(*EVENT_LOG, **PROXY) as event_log:
            assert self.answer(event_log, "X_Forwarded_User: ann") == 303
            assert self.answer(event_log, "X-Forwarded_User: ann") == 303
            assert self.answer(event_log, "X-Forwarded-User: ann", "X-Forwarded-User: eve") == 400

    def test_of_somebody_else(self, start):
        settings = {**PROXY, "EXTENSION_EVENT_LOG_TRUSTED_PROXIES": "10.0.0.0/8"}
        with start(*EVENT_LOG, **settings) as event_log:
            assert self.answer(event_log, "X-Forwarded-User: ann", "X-Forwarded-For: 10.0.0.1") == 303


def test_wrong_passwords_are_slowed_down_whoever_sends_them(start):
    with start(*EVENT_LOG, **WITH_PASSWORD) as event_log:
        lock, answers = threading.Lock(), []

        def guess(number):
            answer = event_log.request("GET", "/api/x", headers=basic("a", f"wrong horse {number}"))
            with lock:
                answers.append(answer.status)

        threads = [threading.Thread(target=guess, args=[number]) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert answers.count(401) == 5
        assert set(answers) <= {401, 429, 503}
        assert event_log.request("GET", "/api/x", headers=basic("a", PASSWORD)).status == 429
        assert event_log.request("GET", "/health").status == 200
        assert "horse" not in event_log.log


def test_a_secret_may_be_in_a_file(start, tmp_path):
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    with start(*EVENT_LOG, EXTENSION_EVENT_LOG_PASSWORD_FILE=tmp_path / "password") as event_log:
        # There is no such path, and no database yet.
        answer = event_log.request("GET", "/api/x", headers=basic("a", PASSWORD))
        assert (answer.status, json.loads(answer.body)["title"]) == (503, "There is nothing yet")
