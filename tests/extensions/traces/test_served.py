"""A run is one trace, on both stores, whatever is killed, lost and repeated on the way."""

import os
import signal
import subprocess
from collections import defaultdict

import pytest

from extension_kit.testing import EventFactory
from tests.support.collectors import collector, lost
from tests.support.durable import database_url, postgresql_server, postgresql_url, statuses, tables
from tests.support.paths import KIT
from tests.support.ready_made import runs, send, server_of, serving
from tests.support.receivers import reply
from tests.support.servers import ready
from tests.support.waiting import wait_until

__all__ = ["collector", "database_url", "postgresql_server", "postgresql_url", "tables"]  # fixtures

PATH = "/events/traces"
SECRET = "glc_c2VjcmV0LXRva2Vu"
LATER = reply(503, Retry_After="1")


@pytest.fixture
def serve(database_url, collector, tmp_path):
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
        "OTEL_TRACES_EXPORTER": "none",  # of the kit's own traces
        "OTEL_EXPORTER_OTLP_HEADERS": f"Authorization=Bearer%20{SECRET}",
    }
    return server_of("traces", database_url, tmp_path, variables)


def ends_of(*runs):
    return [
        body for run in runs for body in run if not body["eventName"].endswith(("requested", "created", "-started"))
    ]


def is_done(database_url, number):
    found = statuses(database_url)
    return found == {"delivered": number} or (found.get("dead") and pytest.fail(str(found)))


def assert_whole(spans, sent):
    """Each run is one trace, whose spans are those of its ends, nested, with the times of the events."""
    by_trace = defaultdict(dict)
    for span in spans.values():
        assert span.span_id not in by_trace[span.trace_id]  # else it has come in two forms
        by_trace[span.trace_id][span.span_id] = span
    assert sorted(map(len, by_trace.values())) == sorted(map(len, map(ends_of, sent)))
    for trace in by_trace.values():
        [root] = [span for span in trace.values() if not span.parent_span_id]
        for span in trace.values():
            depth = 0
            while span.parent_span_id:
                parent = trace[span.parent_span_id]
                assert parent.start_time_unix_nano <= span.start_time_unix_nano
                assert span.end_time_unix_nano <= parent.end_time_unix_nano
                span, depth = parent, depth + 1
            assert span is root
            assert depth <= 2


def test_a_run_is_one_trace_although_workers_are_killed_and_answers_lost(serve, collector, database_url):
    sent = runs(4, steps=3)
    bodies = ends_of(*sent)
    with serve() as server:
        ready(server)
        collector.troubles.extend([lost, None, LATER, None, LATER])  # a second failure would be waited for too long
        send(server, PATH, bodies[: len(bodies) // 2])
        wait_until(lambda: len(collector.exported) >= 3)
        [worker] = wait_until(lambda: server.children("worker"))
        os.kill(worker, signal.SIGKILL)
        send(server, PATH, bodies[len(bodies) // 2 :])
        wait_until(lambda: server.children("worker") not in ({worker}, set()))
        wait_until(lambda: is_done(database_url, len(bodies)), 60)
        assert_whole(collector.spans, sent)
        assert len(collector.exported) > len(bodies)  # those with lost answers have come again
        send(server, PATH, bodies)  # an event that agents send again is no other event
        assert SECRET not in server.log
    assert {exported.request.headers["authorization"] for exported in collector.exported} == {f"Bearer {SECRET}"}


def test_two_workers_share_the_runs(serve, collector, database_url):
    sent = runs(6, steps=3, seed=2)
    bodies = ends_of(*sent)
    with serve() as server, serve(command="worker") as other:
        ready(server)
        ready(other)
        send(server, PATH, bodies)
        wait_until(lambda: len(collector.exported) >= 3)
        os.kill(other.process.pid, signal.SIGKILL)
        wait_until(lambda: is_done(database_url, len(bodies)), 60)
    assert_whole(collector.spans, sent)


def test_what_a_stopped_server_has_taken_is_traced_by_the_next(serve, collector, database_url):
    sent = runs(2, steps=3, seed=3)
    bodies = ends_of(*sent)
    with serve("--no-worker") as server:
        ready(server)
        send(server, PATH, bodies)
        server.kill_all()
    assert collector.exported == []
    with serve() as server:
        ready(server)
        wait_until(lambda: is_done(database_url, len(bodies)), 60)
        assert_whole(collector.spans, sent)


def test_refused_credentials_keep_spans_waiting_and_readiness_off(serve, collector, database_url):
    sent = runs(1, steps=3, seed=5)
    bodies = ends_of(*sent)
    refusal = reply(401, f"no user for Bearer {SECRET}".encode())
    with serve() as server:
        ready(server)
        collector.troubles.append(refusal)
        send(server, PATH, bodies)
        wait_until(lambda: server.health("readiness") == 503)
        assert server.health("readiness/accepting") == 200
        assert "127.0.0.1 refuses the credentials (401)" in server.log
        assert SECRET not in server.log
        wait_until(lambda: is_done(database_url, len(bodies)), 90)
        wait_until(lambda: server.health("readiness") == 200)
    assert_whole(collector.spans, sent)


def test_a_span_that_is_refused_is_a_dead_letter_with_the_reason(serve, collector, database_url):
    body = EventFactory(4).event("experiment.execution.failed")
    with serve() as server:
        ready(server)
        collector.troubles.append(reply(400, b"no such field"))
        send(server, PATH, [body])
        wait_until(lambda: statuses(database_url) == {"dead": 1})
        listed = subprocess.run(
            [KIT, "deliveries", "list", "--status", "dead", "--json"],
            env={**os.environ, "EXTENSION_DATABASE_URL": database_url},
            capture_output=True,
            check=True,
            text=True,
            timeout=60,
        ).stdout
        assert "no such field" in listed


@pytest.mark.parametrize(
    ("variable", "value"),
    [("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"), ("OTEL_EXPORTER_OTLP_HEADERS", f"Bearer {SECRET}")],
)
def test_a_wrong_setting_ends_the_start_in_one_line(tmp_path, variable, value):
    with serving("traces", tmp_path / "server.log", **{variable: value}) as server:
        assert server.process.wait(60) == 2
        [line] = [line for line in server.log.splitlines() if variable in line]
        assert SECRET not in server.log
    assert line
