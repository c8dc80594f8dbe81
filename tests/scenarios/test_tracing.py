"""One trace from the agent's request to the other system, on both stores; and nothing where nobody asks for traces."""

import json
import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from extension_kit.testing import EventFactory
from extensions.croneye import tables as croneye
from tests.extensions.croneye.api import EXTENSION as CRONEYE
from tests.extensions.croneye.api import TOKEN, VARIABLES
from tests.support.collectors import collector
from tests.support.durable import database_url, postgresql_server, postgresql_url, prepared, statuses, tables
from tests.support.paths import APPS, BIN, KIT
from tests.support.receivers import Receiver, reply, silence
from tests.support.servers import run_server
from tests.support.waiting import wait_until

__all__ = ["collector", "database_url", "postgresql_server", "postgresql_url", "tables"]  # fixtures

SECRET = b"hush"
TRACE, AGENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
HEADERS = {"traceparent": f"00-{TRACE}-{AGENT}-01", "tracestate": "vendor=7"}
PATHS = [f"/events/{name}" for name in ("plain", "awaited", "at-once", "hook")]
START = 90  # seconds
SERVER, INTERNAL, CLIENT, CONSUMER = 2, 1, 3, 5  # kinds of spans

# The finder of an interpreter without OpenTelemetry, whatever is installed.
BLOCK = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
"""


@pytest.fixture
def hook():
    """The other system."""
    receiver = Receiver()
    yield receiver
    receiver.server.close()


@pytest.fixture
def environment(collector, hook):
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
        "HOOK": hook.url("", "127.0.0.1"),
        "EXTENSION_DELIVERY_ALLOW_NETWORKS": "127.0.0.0/8",
        "STEADYBIT_LOG_FORMAT": "json",
    }


@pytest.fixture
def serve(environment, tmp_path):
    return lambda command=(KIT, "serve", "traced.py"), **more: run_server(
        list(command), tmp_path / "server.log", **{**environment, **more}
    )


def takes_events(server):
    assert server.process.poll() is None, server.log
    return server.health("readiness") == 200


def a_run_fails(number=1):
    return EventFactory(number).event("experiment.execution.failed")


def by_name(collector):
    return {exported.span.name: exported for exported in collector.exported}


def lines(server):
    return [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]


def parent(request):
    """The trace and the span that a request names as its parent, and the tracestate."""
    version, trace, span, flags = request.headers["traceparent"].split("-")
    assert (version, flags) == ("00", "01")
    return trace, span, request.headers.get("tracestate")


def test_one_trace_leads_from_the_agent_to_the_other_system(serve, collector, hook, database_url, tmp_path):
    event = a_run_fails()
    # Only what is sent at the stop comes at all.
    more = {"OTEL_BSP_SCHEDULE_DELAY": 600_000, "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test"}
    with serve(**prepared(database_url, tmp_path / "ledger"), **more) as server:
        wait_until(lambda: takes_events(server), START)
        for path in PATHS:
            assert server.post(path, event, HEADERS).status == 200
        wait_until(lambda: statuses(database_url) == {"delivered": 3}, START)
        assert collector.exported == []
        server.stop()
        log, logged = server.log, lines(server)
    spans = [exported.span for exported in collector.exported]
    assert {span.trace_id.hex() for span in spans} == {TRACE}
    received = [span for span in spans if span.kind == SERVER]
    assert sorted(span.name for span in received) == sorted(f"POST {path}" for path in PATHS)
    assert {span.parent_span_id.hex() for span in received} == {AGENT}
    assert {span.trace_state for span in spans} == {"vendor=7"}
    ids = {span.span_id for span in received}

    attempts = [exported for exported in collector.exported if exported.span.kind == CONSUMER]
    assert len(attempts) == 4
    assert all(exported.span.parent_span_id in ids for exported in attempts)
    for exported in attempts:
        listener = exported.attributes["extension_kit.listener"]
        assert exported.span.name == f"attempt {listener}"
        assert exported.attributes == {
            "extension_kit.listener": listener,
            "extension_kit.event_name": event["eventName"],
            "extension_kit.event_id": event["id"],
            "extension_kit.attempt": 1,
            "extension_kit.result": "delivered",
        }
    filed = [span for span in spans if span.name == "file"]
    assert len(filed) == 3
    assert all(span.parent_span_id in ids for span in filed)

    calls = {exported.span.span_id.hex(): exported for exported in collector.exported if exported.span.kind == CLIENT}
    assert len(hook.requests) == len(calls) == 2
    of_attempts = {exported.span.span_id for exported in attempts}
    for request in hook.requests:
        trace, span, state = parent(request)
        assert (trace, state) == (TRACE, "vendor=7")
        assert calls[span].span.parent_span_id in of_attempts
        assert calls[span].attributes["server.address"] == "127.0.0.1"
        assert calls[span].attributes["http.response.status_code"] == 200
    assert {exported.resource["service.name"] for exported in collector.exported} == {"extension-traced"}
    assert {exported.resource["deployment.environment.name"] for exported in collector.exported} == {"test"}
    assert not any(SECRET in exported.body for exported in collector.exported)
    assert SECRET.decode() not in log

    of_functions = {line["message"].partition(" ")[0]: line for line in logged if " in " in line["message"]}
    for name, path in {"plain": "plain", "awaited": "awaited", "at_once": "at-once"}.items():
        line = of_functions[name]
        assert line["message"] == f"{name} in {TRACE}"  # by OpenTelemetry's own API
        assert line["listener"] == f"extension-traced.{name}@/events/{path}"
        assert (line["event_id"], line["attempt"], line["trace_id"]) == (event["id"], 1, TRACE)
    assert (of_functions["plain"]["desk"], of_functions["plain"]["api_token"]) == (7, "***")
    assert {len(line["time"]) for line in logged} == {len("2026-01-01T00:00:00.000Z")}


def test_an_attempt_that_is_killed_and_the_next_one_are_in_the_trace_of_the_event(
    serve, collector, hook, database_url, tmp_path
):
    hook.answer = lambda request: silence
    with serve(**prepared(database_url, tmp_path / "ledger"), OTEL_BSP_SCHEDULE_DELAY=100) as server:
        wait_until(lambda: takes_events(server), START)
        assert server.post("/events/plain", a_run_fails(), HEADERS).status == 200
        wait_until(lambda: len(hook.requests) == 1, START)
        hook.answer = lambda request: reply()
        (worker,) = server.children("worker")
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: statuses(database_url) == {"delivered": 1}, START)
        server.stop()
        logged = lines(server)
    first, second = map(parent, hook.requests)
    assert first[0] == second[0] == TRACE
    assert first[1] != second[1]
    attempts = [exported for exported in collector.exported if exported.span.kind == CONSUMER]
    assert {exported.span.trace_id.hex() for exported in attempts} == {TRACE}
    results = {each.attributes["extension_kit.attempt"]: each.attributes["extension_kit.result"] for each in attempts}
    assert results == {1: "lost", 2: "delivered"}
    (line,) = [line for line in logged if line["message"].startswith("plain in") and line["attempt"] == 2]
    assert line["trace_id"] == TRACE


TOLD = """
from extension_kit import Event, Extension

extension = Extension("extension-told")


@extension.listen_to("croneye.*")
def told(event: Event) -> None: ...
"""


class TestProtocols:
    @pytest.fixture
    def tables(self):
        return [croneye.TABLES]

    def test_events_are_in_the_traces_of_their_requests(self, serve, collector, database_url, tmp_path):
        (tmp_path / "told.py").write_text(TOLD)
        command = (KIT, "serve", CRONEYE, str(tmp_path / "told.py"))
        with serve(command, EXTENSION_DATABASE_URL=database_url, **VARIABLES) as server:
            wait_until(lambda: takes_events(server), START)
            headers = {**HEADERS, "Authorization": f"Token {TOKEN}"}
            assert server.post("/event", {"event_code": 1, "alias": "billing"}, headers).status == 200
            wait_until(lambda: statuses(database_url) == {"delivered": 1}, START)
            server.stop()
        received, attempt = sorted((exported.span for exported in collector.exported), key=lambda span: span.kind)
        assert (received.name, received.parent_span_id.hex()) == ("POST /event", AGENT)
        assert attempt.name == "attempt extension-told.told@/events/told"
        assert attempt.parent_span_id == received.span_id
        assert {received.trace_id.hex(), attempt.trace_id.hex()} == {TRACE}


def kept(database):
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute("SELECT trace_context FROM events").fetchall()


@pytest.mark.parametrize("lacks", ["the extra", "an exporter"])
def test_without_the_extra_or_an_exporter_there_is_nothing(serve, collector, hook, tmp_path, lacks):
    more = {"OTEL_EXPORTER_OTLP_ENDPOINT": ""}
    if lacks == "the extra":
        (tmp_path / "sitecustomize.py").write_text(BLOCK)
        more = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{APPS}"}
    url = f"sqlite:///{tmp_path}/extension.db"
    with serve(EXTENSION_DATABASE_URL=url, **more) as server:
        wait_until(lambda: takes_events(server), START)
        for path in PATHS:
            assert server.post(path, a_run_fails(), HEADERS).status == 200
        wait_until(lambda: statuses(url) == {"delivered": 3}, START)
        server.stop()
        logged = lines(server)
    assert collector.exported == []
    assert kept(tmp_path / "extension.db") == [(None,)]
    assert not any({"traceparent", "tracestate"} & request.headers.keys() for request in hook.requests)
    messages = [line["message"] for line in logged]
    assert "plain in none" in messages
    assert "awaited in none" in messages
    said = "No traces: opentelemetry is not installed: pip install 'extension-kit[otel]'"
    assert (said in messages) == (lacks == "the extra")
    assert not any("trace_id" in line for line in logged)


def test_a_collector_that_hangs_disturbs_nobody(serve, hook, tmp_path):
    hanging = Receiver(answer=lambda request: silence)
    url = f"sqlite:///{tmp_path}/extension.db"
    limits = {"OTEL_BSP_SCHEDULE_DELAY": 10, "OTEL_BSP_MAX_QUEUE_SIZE": 8, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": 4}
    more = {"OTEL_EXPORTER_OTLP_ENDPOINT": hanging.url("", "127.0.0.1"), "EXTENSION_DATABASE_URL": url, **limits}
    with serve(**more) as server:
        wait_until(lambda: takes_events(server), START)
        for number in range(20):
            assert server.post("/events/plain", a_run_fails(number), HEADERS).status == 200
        wait_until(lambda: statuses(url) == {"delivered": 20}, START)
        assert hanging.requests  # it has been asked, and has not answered
        assert server.stop() == 143
        assert "Traceback" not in server.log
    hanging.server.close()


def test_processes_that_are_forked_later_send_their_spans(serve, collector, tmp_path):
    gunicorn = [
        str(BIN / "gunicorn"), "--bind", "127.0.0.1:{port}", "--worker-class", "gthread", "--workers", "2", "--preload",
        "--no-control-socket", "extension_kit.wsgi:create_app('traced.py')",
    ]  # fmt: skip
    url = f"sqlite:///{tmp_path}/extension.db"

    def answers():
        assert server.process.poll() is None, server.log
        try:
            return server.request("GET", "/").status == 200
        except OSError:
            return False

    with serve(gunicorn, EXTENSION_DATABASE_URL=url, OTEL_BSP_SCHEDULE_DELAY=600_000) as server:
        wait_until(answers, START)
        for number in range(8):
            assert server.post("/events/at-once", a_run_fails(number), HEADERS).status == 200
        server.stop()
    received = [each.span for each in collector.exported if each.span.kind == SERVER]
    assert [span.name for span in received] == ["POST /events/at-once"] * 8
    assert {span.trace_id.hex() for span in received} == {TRACE}


def test_traces_of_experiments_and_of_the_kit_are_made_in_one_process(serve, collector, tmp_path):
    folder = str(Path(__file__).parents[2] / "extensions/traces")
    url = f"sqlite:///{tmp_path}/extension.db"
    with serve([KIT, "serve", folder], EXTENSION_DATABASE_URL=url, OTEL_BSP_SCHEDULE_DELAY=100) as server:
        wait_until(lambda: takes_events(server), START)
        assert server.post("/events/traces", a_run_fails(), HEADERS).status == 200
        wait_until(lambda: statuses(url) == {"delivered": 1}, START)
        server.stop()
    assert {exported.resource["service.name"] for exported in collector.exported} == {"steadybit", "extension-traces"}
    names = by_name(collector)
    assert {"POST /events/traces", "file", "attempt extension-traces.traces@/events/traces"} < names.keys()
    (run,) = [each for each in collector.exported if each.resource["service.name"] == "steadybit"]
    assert run.span.trace_id.hex() != TRACE
