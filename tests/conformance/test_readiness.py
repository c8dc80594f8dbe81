"""Functions that are not ready, and hooks, in real processes on both stores: events are accepted all the time."""

import http.client
import signal
from contextlib import contextmanager

import pytest

from tests.support.durable import all_attempts, statuses
from tests.support.servers import GUNICORN, run_server
from tests.support.waiting import wait_until

APP = "hooked_worker"
REASON = "Grafana refuses the token (401)"


class Told:
    """Files that tell the extension what to do."""

    def __init__(self, ledger):
        self._ledger = ledger

    def say(self, name, text=""):
        self._ledger.with_name(name).write_text(text)

    def unsay(self, name):
        self._ledger.with_name(name).unlink()

    def lines(self, beginning):
        return [line for line in self._ledger.read_text().splitlines() if line.startswith(beginning)]


@pytest.fixture
def told(ledger):
    return Told(ledger)


def asked(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    except OSError:
        return 0, ""
    finally:
        connection.close()


def readiness(server, path="/health/readiness"):
    assert server.process.poll() is None, server.log
    return asked(server.health_port, path)


def accepts(server):
    return readiness(server, "/health/readiness/accepting")[0] == 200


def is_ready(server):
    return readiness(server)[0] == 200


def send(server, event, number, path="/events/page", runs=3):
    body = event("experiment.execution.created", id=f"e{number}", execution_id=number % runs + 1)
    assert server.post(path, body).status == 200


def gauge(server, extension):
    return f'extension_ready{{extension="{extension}"}} 1.0' in asked(server.health_port, "/metrics")[1]


def test_a_refused_token(serve, told, event, database_url):
    """300 deliveries wait uncounted, others go on, and all are made in order when the token is accepted again."""
    told.say("refused", REASON)
    with serve(app=f"{APP}.py") as server:
        wait_until(lambda: is_ready(server))
        for number in range(300):
            send(server, event, number)
        wait_until(lambda: readiness(server) == (503, f"extension-hooked: {REASON}"))
        assert accepts(server)
        wait_until(lambda: not gauge(server, "extension-hooked"))
        assert gauge(server, "extension-other")
        for number in range(100):
            send(server, event, number, "/events/other")
        wait_until(lambda: statuses(database_url) == {"waiting": 300, "delivered": 100})
        assert len(told.lines("other")) == 100
        assert len(told.lines("refused")) < 30
        told.unsay("refused")
        wait_until(lambda: is_ready(server))
        wait_until(lambda: statuses(database_url) == {"delivered": 400})
        for run in (1, 2, 3):
            ended = [int(line.split()[1][1:]) for line in told.lines("end") if line.endswith(f" {run}")]
            assert ended == sorted(ended)
            assert len(ended) == 100
        assert server.log.count("is not ready") == 1
        assert server.log.count("is ready again") == 1
    assert "not ready" in {each.result for each in all_attempts(database_url)}


def test_a_worker_by_itself_says_the_reason(serve, work, told, event):
    told.say("refused", REASON)
    with serve("--no-worker", app=f"{APP}.py") as server, work(app=f"{APP}.py") as worker:
        wait_until(lambda: is_ready(server) and is_ready(worker))
        send(server, event, 1)
        wait_until(lambda: readiness(worker) == (503, f"extension-hooked: {REASON}"))
        assert accepts(worker)
        assert is_ready(server)


def test_a_start_that_fails_at_first(serve, told, event, database_url):
    told.say("start-fails", "the vendor does not answer")
    with serve(app=f"{APP}.py") as server:
        wait_until(lambda: accepts(server))
        said = "on_start connect raised ConnectionError: the vendor does not answer"
        wait_until(lambda: readiness(server) == (503, f"extension-hooked: {said}"))
        wait_until(lambda: server.log.count("Delivery worker exited (code 1)") >= 2)
        send(server, event, 1)
        assert server.log.count(f"ERR extension-hooked: {said}") >= 2
        assert "Traceback" not in server.log
        assert not told.lines("end")
        told.unsay("start-fails")
        wait_until(lambda: told.lines("end"))
        wait_until(lambda: is_ready(server))
    assert len(told.lines("on_start warm_up")) == 1  # after the first function has returned


def test_the_stop(work, told):
    with work(app=f"{APP}.py") as worker:
        wait_until(lambda: is_ready(worker))
        assert worker.stop() == 128 + signal.SIGTERM
        assert "on_stop say_goodbye raised ValueError: goodbye failed" in worker.log
    assert [line.split()[1] for line in told.lines("on_stop")] == ["say_goodbye", "close"]


def test_a_stop_that_hangs_is_left_behind(work, told):
    told.say("stop-hangs")
    with work(app=f"{APP}.py", EXTENSION_GRACE_PERIOD=2) as worker:
        wait_until(lambda: is_ready(worker))
        assert worker.stop() == 128 + signal.SIGTERM
        assert "on_stop close did not return in time" in worker.log


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("no connection", "no connection"),
        ("False", "is_ready returned False"),
        ("raises", "OSError: no route"),
        ("hangs", "is_ready did not return within 10 s"),
    ],
)
def test_an_extension_that_says_no(serve, told, event, answer, reason):
    told.say("ready", answer)
    with serve(app=f"{APP}.py") as server:
        wait_until(lambda: readiness(server) == (503, f"extension-hooked: {reason}"))
        for number in range(10):
            send(server, event, number)
            send(server, event, number, "/events/other")
        wait_until(lambda: len(told.lines("other")) == 10)
        assert accepts(server)
        assert not told.lines("end")
        told.unsay("ready")
        wait_until(lambda: len(told.lines("end")) == 10)
        wait_until(lambda: is_ready(server))


@contextmanager
def wsgi(tmp_path, environment):
    command = [part.replace("{target}", APP) for part in [*GUNICORN, "extension_kit.wsgi:create_app('{target}.py')"]]
    with run_server(command, tmp_path / "wsgi.log", **environment, IMMEDIATE="1") as server:
        yield server


def test_a_wsgi_process(tmp_path, environment, told, event):
    told.say("start-fails", "not yet")
    with wsgi(tmp_path, environment) as server:
        wait_until(lambda: asked(server.port, "/health/readiness/accepting")[0] == 200)
        wait_until(lambda: asked(server.port, "/health/readiness")[0] == 503)
        send(server, event, 1)
        assert not told.lines("end")
        told.unsay("start-fails")
        wait_until(lambda: told.lines("end"))
        wait_until(lambda: asked(server.port, "/health/readiness")[0] == 200)
        told.say("refused", REASON)
        send(server, event, 2)
        wait_until(lambda: asked(server.port, "/health/readiness") == (503, f"extension-hooked: {REASON}"))
        server.stop()
    assert [line.split()[1] for line in told.lines("on_stop")] == ["say_goodbye", "close"]


def test_web_processes_of_immediate_listeners_have_hooks(serve, told, event):
    told.say("start-fails", "not yet")
    with serve("--no-worker", app=f"{APP}.py", IMMEDIATE="1") as server:
        wait_until(lambda: "on_start connect raised ConnectionError: not yet" in server.log)
        assert readiness(server)[0] == 503
        told.unsay("start-fails")
        wait_until(lambda: is_ready(server))
        body = event("killswitch.engaged", id="k1")
        assert server.post("/events/now", body).status == 200
        assert told.lines("now")
        server.stop()
    assert [line.split()[1] for line in told.lines("on_stop")] == ["say_goodbye", "close"]
