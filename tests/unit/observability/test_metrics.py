"""What is counted, by one process or several, and what Prometheus gets to see of it.

Each test counts in processes of its own: how the library keeps its numbers is settled when it is imported.
"""

import ast
import os
import socket
import subprocess
import sys
import textwrap
import urllib.error
import urllib.request

import pytest

from extension_kit.observability.metrics_page import Backlog
from extension_kit.server.health_port import HealthPort
from extension_kit.server.worker_process import METRICS_NAME, WorkerProcess
from tests.support.waiting import wait_until

PRELUDE = """
import os, sys
from pathlib import Path
from extension_kit.observability import metrics
from extension_kit.observability.metrics_page import Backlog, no_backlog, page

def samples(read_backlog=no_backlog):
    "Values by name and labels, in the order of the labels' names."
    from prometheus_client.parser import text_string_to_metric_families
    shown = page(read_backlog)
    assert shown.status == 200, shown
    families = text_string_to_metric_families(shown.body.decode())
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}

def received():
    return samples()["extension_events_received_total", "/events/page", "200"]

def child(part, work):
    "Run a function in a forked process that is a part of this one, which is the server."
    pid = os.fork()
    if pid == 0:
        metrics.start(part)
        work()
        os._exit(0)
    return os.waitpid(pid, 0)[1]

def count():
    metrics.answered("/events/page", 200, 0.25)
    metrics.pool_waiting(5)

def files():
    return sorted(os.listdir(os.environ[metrics.DIRECTORY]))
"""


@pytest.fixture
def run():
    """Run code in a new process, and return what it prints at the end."""

    def run(code, **environment):
        inherited = {name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"}
        ended = subprocess.run(
            [sys.executable, "-W", "error", "-c", PRELUDE + textwrap.dedent(code)],
            env={**inherited, **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert ended.returncode == 0, ended.stderr
        return ast.literal_eval(ended.stdout)

    return run


class TestOneProcess:
    def test_requests_are_shown_by_path_and_status(self, run):
        found = run("""
            metrics.start()
            for status, seconds in ((200, 0.002), (200, 0.02), (422, 0.001), (503, 30.0)):
                metrics.answered("/events/page", status, seconds)
            metrics.answered("/events/other", 400, 0.0)
            print(samples())
        """)
        by = {
            status: found["extension_request_seconds_count", "/events/page", status] for status in ("200", "422", "503")
        }
        assert by == {"200": 2, "422": 1, "503": 1}
        assert found["extension_request_seconds_sum", "/events/page", "200"] == pytest.approx(0.022)
        assert found["extension_request_seconds_bucket", "0.0025", "/events/page", "200"] == 1
        assert found["extension_events_received_total", "/events/page", "200"] == 2
        assert found["extension_events_received_total", "/events/page", "503"] == 1
        refused = {key[1:]: value for key, value in found.items() if key[0] == "extension_events_refused_total"}
        assert refused == {("/events/page", "422"): 1, ("/events/other", "400"): 1}

    def test_commits_are_shown_with_how_many_events_they_had(self, run):
        found = run("""
            metrics.start()
            metrics.committed(1, 0.004)
            metrics.committed(20, 0.008)
            print(samples())
        """)
        assert found["extension_events_recorded_total",] == 21
        assert found["extension_commit_events_count",] == 2
        assert found["extension_commit_events_sum",] == 21
        assert found["extension_commit_events_bucket", "16.0"] == 1
        assert found["extension_commit_seconds_sum",] == pytest.approx(0.012)

    def test_attempts_are_shown_by_listener_and_result(self, run):
        found = run("""
            metrics.start()
            for result in (metrics.FAILED, metrics.FAILED, metrics.DELIVERED):
                metrics.attempted("oncall.page@/events/page", result, 0.5)
            metrics.attempted("oncall.page@/events/page", metrics.DEAD, None)
            print(samples())
        """)
        page = "oncall.page@/events/page"
        results = {
            result: found["extension_deliveries_total", page, result] for result in ("delivered", "failed", "dead")
        }
        assert results == {"delivered": 1, "failed": 2, "dead": 1}
        assert found["extension_delivery_attempt_seconds_count", page] == 3  # a lost attempt took nobody knows how long
        assert found["extension_delivery_attempt_seconds_sum", page] == 1.5

    def test_subscriptions_are_counted_together_because_anybody_can_make_more(self, run):
        found = run("""
            metrics.start()
            for number in range(100):
                metrics.attempted(f"subscription:{number}", metrics.DELIVERED, 0.1)
            print(samples())
        """)
        listeners = {key[1] for key in found if key[0] == "extension_deliveries_total"}
        assert listeners == {"subscription"}
        assert found["extension_deliveries_total", "subscription", "delivered"] == 100

    def test_counts_begin_at_zero_so_that_the_first_is_an_increase(self, run):
        found = run("""
            metrics.start()
            metrics.describe("extension-oncall", "1.2.3", ["/events/page"], ["oncall.page", "subscription:7"])
            print(samples())
        """)
        assert found["extension_events_received_total", "/events/page", "200"] == 0
        for listener in ("oncall.page", "subscription"):
            for result in ("delivered", "failed", "dead"):
                assert found["extension_deliveries_total", listener, result] == 0
        assert [key for key in found if key[0] == "extension_build_info"] == [
            ("extension_build_info", "0.1.0", "extension-oncall", "1.2.3")
        ]

    def test_the_backlog_is_shown_where_there_is_one(self, run):
        with_backlog, without = run("""
            metrics.start()
            print([samples(lambda: Backlog(3, 12.5)), samples()])
        """)
        assert with_backlog["extension_deliveries_waiting",] == 3
        assert with_backlog["extension_deliveries_oldest_waiting_seconds",] == 12.5
        assert ("extension_deliveries_waiting",) not in without

    def test_starting_twice_is_starting_once(self, run):
        assert run("""
            metrics.start()
            metrics.answered("/events/page", 200, 0.1)
            metrics.start()
            metrics.answered("/events/page", 200, 0.1)
            print(samples()["extension_events_received_total", "/events/page", "200"])
        """) == 2  # fmt: skip

    def test_nothing_is_counted_before_the_start(self, run):
        assert run("""
            metrics.answered("/events/page", 200, 0.1)
            metrics.pool_waiting(7)
            metrics.start()
            print([key for key in samples() if "page" in key or 7 in key])
        """) == []  # fmt: skip


class TestSeveralProcesses:
    def test_their_counts_are_added_and_outlive_them(self, run):
        found = run("""
            def be_killed():
                count()
                os.kill(os.getpid(), 9)

            with metrics.shared():
                assert child("0", count) == child("deliverer", count) == 0
                assert child("1", be_killed) == 9
                print(samples())
        """)
        assert found["extension_events_received_total", "/events/page", "200"] == 3
        assert found["extension_request_seconds_sum", "/events/page", "200"] == 0.75
        assert found["extension_request_seconds_bucket", "0.25", "/events/page", "200"] == 3

    def test_gauges_of_processes_that_have_ended_are_forgotten(self, run):
        before, after, all_over = run("""
            with metrics.shared():
                child("0", count)
                child("1", count)
                waiting = [samples()["extension_pool_waiting",]]
                metrics.ended("0")
                waiting.append(samples()["extension_pool_waiting",])
                metrics.ended("1")
                waiting.append(("extension_pool_waiting",) in samples())
                assert received() == 2
                print(waiting)
        """)
        assert (before, after, all_over) == (10, 5, False)

    def test_a_process_that_takes_the_place_of_another_goes_on_with_its_files(self, run):
        first, last, count = run("""
            with metrics.shared():
                child("0", count)
                first = files()
                for _ in range(5):
                    metrics.ended("0")
                    child("0", count)
                print([first, files(), received()])
        """)
        assert first == last
        assert count == 6

    def test_a_process_that_a_part_forks_does_not_write_into_its_files(self, run):
        """As a handler's own child processes would, at the same time."""
        assert run("""
            def fork_and_count():
                count()
                pid = os.fork()
                if pid == 0:
                    for _ in range(10):
                        count()
                    os._exit(0)
                for _ in range(10):
                    count()
                os.waitpid(pid, 0)

            with metrics.shared():
                child("0", fork_and_count)
                print([received(), len({name.rpartition("_")[2] for name in files()})])
        """) == [21, 2]  # fmt: skip

    def test_without_a_place_of_its_own_a_process_counts_under_its_number(self, run):
        assert run("""
            with metrics.shared():
                child(None, count)
                child(None, count)
                print([received(), len({name.rpartition("_")[2] for name in files()})])
        """) == [2, 2]  # fmt: skip


class TestTheWorkerProcess:
    def test_its_gauges_are_forgotten_when_it_has_ended(self, tmp_path, monkeypatch):
        monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
        gauge = tmp_path / f"gauge_livesum_{os.getpid()}-{METRICS_NAME}.db"
        counter = tmp_path / f"counter_{os.getpid()}-{METRICS_NAME}.db"
        process = WorkerProcess(["no-such-file.py"], longest_silence=60.0)
        for end in (process.keep_running, lambda: process.wait(30)):
            gauge.touch()
            counter.touch()
            process.keep_running()
            wait_until(lambda end=end: end() or not gauge.exists())
            assert counter.exists()
        process.wait(30)


class TestTheDirectory:
    def test_it_is_private_and_removed_at_the_end(self, run):
        mode, during, after, variable = run("""
            with metrics.shared():
                directory = Path(os.environ[metrics.DIRECTORY])
                mode = directory.stat().st_mode & 0o777
                child("0", count)
                during = directory.exists()
            print([mode, during, directory.exists(), metrics.DIRECTORY in os.environ])
        """)
        assert (mode, during, after, variable) == (0o700, True, False, False)

    def test_it_is_removed_after_a_failure_too(self, run):
        assert run("""
            try:
                with metrics.shared():
                    directory = Path(os.environ[metrics.DIRECTORY])
                    raise SystemExit(2)
            except SystemExit:
                print(not directory.exists())
        """)

    def test_it_is_not_removed_by_a_forked_process_that_ends(self, run):
        assert run("""
            with metrics.shared():
                pid = os.fork()
                if pid == 0:
                    raise SystemExit(0)
                os.waitpid(pid, 0)
                print(Path(os.environ[metrics.DIRECTORY]).exists())
        """)

    def test_one_that_is_given_is_made_used_and_left(self, run, tmp_path):
        given = tmp_path / "new" / "numbers"
        run(
            """
            with metrics.shared():
                child("0", count)
                assert received() == 1
            print(0)
            """,
            PROMETHEUS_MULTIPROC_DIR=str(given),
        )
        assert any(name.startswith("histogram_") for name in os.listdir(given))

    @pytest.mark.parametrize("begin", ["metrics.shared().__enter__()", "metrics.start()"])
    def test_one_that_cannot_be_made_is_refused_in_words(self, run, tmp_path, begin):
        (tmp_path / "file").touch()
        said = run(
            f"""
            from extension_kit.errors import ConfigurationError
            try:
                {begin}
            except ConfigurationError as error:
                print(repr(str(error)))
            """,
            PROMETHEUS_MULTIPROC_DIR=str(tmp_path / "file"),
        )
        assert "PROMETHEUS_MULTIPROC_DIR" in said
        assert str(tmp_path / "file") in said

    def test_a_file_that_a_process_is_just_creating_does_not_disturb_the_page(self, run):
        numbers = run("""
            with metrics.shared():
                child("web-1", count)
                Path(os.environ[metrics.DIRECTORY], "counter_web-2.db").touch()
                print(received())
        """)
        assert numbers == 1

    def test_a_broken_file_in_it_is_an_error_page_and_a_line_in_the_log(self, run):
        page = run("""
            import logging
            logging.basicConfig(stream=sys.stderr)
            with metrics.shared():
                Path(os.environ[metrics.DIRECTORY], "counter_1.db").write_bytes(b"x" * 100)
                print(tuple(page(no_backlog)))
        """)
        assert page[0] == 500
        assert b"log" in page[2]


WITHOUT = "sys.modules['prometheus_client'] = None\n"


class TestWithoutTheLibrary:
    def test_counting_and_sharing_do_nothing(self, run):
        assert run(
            WITHOUT
            + textwrap.dedent("""
            with metrics.shared():
                assert metrics.DIRECTORY not in os.environ
                metrics.start("0")
                metrics.describe("extension-oncall", "1", ["/events/page"], ["oncall.page"])
                metrics.committed(1, 0.1)
                metrics.attempted("oncall.page", metrics.DEAD, 0.1)
                count()
                metrics.ended("0")
                print(0)
            """)
        ) == 0  # fmt: skip

    def test_the_page_says_what_to_install(self, run):
        status, content_type, body = run(WITHOUT + "print(tuple(page(no_backlog)))")
        assert status == 404
        assert content_type.startswith("text/plain")
        assert b"pip install 'extension-kit[metrics]'" in body


class TestTheHealthPort:
    @pytest.fixture
    def get(self):
        listening = socket.create_server(("127.0.0.1", 0))
        server = HealthPort([listening], "127.0.0.1", lambda: True, lambda: Backlog(4, 2.5))
        server.start()

        def get(path):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=30) as response:
                    return response.status, response.headers["Content-Type"], response.read().decode()
            except urllib.error.HTTPError as error:
                return error.code, error.headers["Content-Type"], error.read().decode()

        yield get
        server.stop()

    @pytest.mark.parametrize("path", ["/metrics", "/metrics?name[]=x"])
    def test_the_page_is_there(self, get, path):
        status, content_type, body = get(path)
        assert (status, content_type) == (200, "text/plain; version=0.0.4; charset=utf-8")
        assert "\nextension_deliveries_waiting 4.0\n" in body
        assert "\nextension_deliveries_oldest_waiting_seconds 2.5\n" in body

    def test_other_paths_are_what_they_were(self, get):
        assert get("/health/liveness")[0] == 200
        assert get("/metric")[0] == 404
