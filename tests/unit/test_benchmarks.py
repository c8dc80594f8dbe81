"""What the benchmarks' figures rest on: the load generator counts right, and /proc is read right."""

import json
import os
import signal
import socketserver
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import urllib3

from benchmarks import backlog, deliver, events, matching, processes, stores
from benchmarks.load import DUE, EVENTS_OF_A_RUN, ID, RUN, TIME, Generator, Request, answered, percentile
from benchmarks.receiver import Ledger, receiving
from benchmarks.servers import ROOT, Running, Server, ServerError, printed, process
from benchmarks.timing import Case, interleaved, ratio
from extension_kit.events.schema.validation import EventValidator
from extension_kit.store.database import Database
from tests.support.waiting import wait_until

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\ncontent-length: 2\r\n\r\n{}"


class Handler(socketserver.StreamRequestHandler):
    """Answers each request by what the test wants, and keeps the events it got."""

    disable_nagle_algorithm = True

    def handle(self):
        while head := self.read_head():
            length = int(head.lower().partition("content-length: ")[2].split("\r\n")[0] or 0)
            self.server.seen.append((head, json.loads(self.rfile.read(length) or "null")))
            if self.server.answer(self.wfile.write, len(self.server.seen)) == "close":
                return

    def read_head(self):
        lines = []
        with suppress(ConnectionError):
            while (line := self.rfile.readline()) not in (b"", b"\r\n"):
                lines.append(line.decode())
        return "".join(lines)


@contextmanager
def serving(answer):
    """Serve on other threads; gives the port and the list of (head, event) that were received."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.answer, server.seen = answer, []
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address[1], server.seen
        finally:
            server.shutdown()
            thread.join(10)


def ok(write, number):
    write(ANSWER)


def load(port, connections=4, seconds=0.2, **options):
    generator = Generator(Request(port, "/events", events.encoded(events.small()), **options), connections)
    try:
        return generator.run(seconds)
    finally:
        generator.close()


def test_every_answer_is_counted_and_every_request_has_an_id_of_its_own():
    with serving(ok) as (port, seen):
        result = load(port)
    assert 0 < result.requests <= len(seen) <= result.requests + 4  # what was under way at the end is not counted
    assert result.refused == {}
    assert result.reconnects == 0
    assert 0 < result.p50_ms <= result.p99_ms
    assert result.per_second == result.requests / result.seconds
    ids = [event["id"] for _, event in seen]
    assert len(set(ids)) == len(ids)
    runs = [event["experimentExecution"]["executionId"] for _, event in seen]
    assert all(event == {**events.small(run), "id": event["id"]} for (_, event), run in zip(seen, runs, strict=True))
    assert all(len(event_id) == len(ID) for event_id in ids)


def test_each_connection_plays_one_run_after_another():
    with serving(ok) as (port, seen):
        load(port, connections=3)
    runs = Counter(event["experimentExecution"]["executionId"] for _, event in seen)
    assert sorted(runs) == [RUN + number for number in range(len(runs))]
    assert len(runs) > 3
    assert sum(length < EVENTS_OF_A_RUN for length in runs.values()) <= 3  # those under way at the end
    assert max(runs.values()) == EVENTS_OF_A_RUN


def test_two_generators_do_not_share_ids():
    with serving(ok) as (port, seen):
        load(port, connections=1, seconds=0.01)
        load(port, connections=1, seconds=0.01)
    assert len({event["id"] for _, event in seen}) == len(seen) >= 2


def test_the_request_is_what_a_server_expects():
    with serving(ok) as (port, seen):
        load(port, connections=1, seconds=0.01, headers={"ce-id": "1"})
    head = seen[0][0].split("\r\n")
    assert head[0] == "POST /events HTTP/1.1"
    assert f"Host: 127.0.0.1:{port}" in head
    assert "Content-Type: application/json" in head
    assert "ce-id: 1" in head


def test_refusals_are_counted_by_status():
    def answer(write, number):
        write(ANSWER.replace(b"200 OK", b"503 No") if number % 3 == 0 else ANSWER)

    with serving(answer) as (port, seen):
        result = load(port, connections=1)
    assert result.refused == {"503": result.requests // 3}
    assert result.requests <= len(seen)


def test_an_answer_may_come_in_pieces():
    def answer(write, number):
        for part in (ANSWER[:20], ANSWER[20:-1], ANSWER[-1:]):
            write(part)

    with serving(answer) as (port, seen):
        result = load(port)
    assert 0 < result.requests <= len(seen)
    assert result.refused == {}


def test_a_server_may_close_connections():
    def answer(write, number):
        write(ANSWER)
        return "close" if number % 2 == 0 else None

    with serving(answer) as (port, _):
        result = load(port, connections=1)
    assert 0 < result.reconnects < result.requests


def test_a_server_that_does_not_answer_is_an_error(monkeypatch):
    monkeypatch.setattr("benchmarks.load._PATIENCE", 0.5)
    with serving(lambda write, number: None) as (port, _), pytest.raises(TimeoutError, match="no answer"):
        load(port)


def test_the_generator_runs_in_a_process_of_its_own():
    task = {"connections": 2, "warm_up": 0.05, "seconds": 0.1}
    with serving(ok) as (port, seen):
        request = {"port": port, "path": "/events", "body": events.encoded(events.small())}
        finished = subprocess.run(
            [sys.executable, "-m", "benchmarks.load", json.dumps({"request": request, **task})],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
            timeout=30,
        )
    began, result = finished.stdout.splitlines()
    assert began == "measuring"
    assert 0 < json.loads(result)["requests"] < len(seen)  # those of the warm-up do not count


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (ANSWER, 200),
        (ANSWER[:-1], None),
        (ANSWER[:10], None),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", 204),
    ],
)
def test_an_answer_is_read_to_its_end(data, status):
    assert answered(data) == status


@pytest.mark.parametrize(
    "data", [ANSWER + b"x", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"SSH-2.0\r\n\r\n"]
)
def test_what_cannot_be_counted_is_an_error(data):
    with pytest.raises(ValueError, match="answer"):
        answered(data)


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([1.0], 50, 1.0),
        ([1.0, 2.0, 3.0, 4.0], 50, 2.0),
        ([float(n) for n in range(1, 101)], 99, 99.0),
        ([1.0, 2.0], 99, 2.0),
    ],
)
def test_percentiles(values, percent, expected):
    assert percentile(values, percent) == expected


def test_a_pair_of_events_has_two_bodies_and_one_time_at_which_it_was_due():
    first, second = (json.dumps({"id": ID, "run": RUN, "due": DUE, "time": TIME, "place": n}) for n in (1, 2))
    sent = []
    for number, template in enumerate(Request(1, "/", first, second=second).templates()):
        data = template % {b"event": 7, b"run": 9, b"due": 100, b"time": 100 + number}
        sent.append(json.loads(data.partition(b"\r\n\r\n")[2]))
    assert [(each["place"], each["run"], each["due"], each["time"]) for each in sent] == [
        (1, 9, 100, 100),
        (2, 9, 100, 101),
    ]
    with pytest.raises(ValueError, match="must contain the id"):
        Request(1, "/", first, second="{}")


def test_a_body_may_contain_what_looks_like_a_format():
    request = Request(1, "/100%", json.dumps({"id": ID, "text": "50 %d %(run)d"}))
    sent = request.templates()[1] % {b"event": 7, b"run": 9}
    assert sent.startswith(b"POST /100% HTTP/1.1\r\n")
    assert json.loads(sent.split(b"\r\n\r\n")[1])["text"] == "50 %d %(run)d"


def test_a_body_needs_the_id_once():
    with pytest.raises(ValueError, match="once"):
        Request(1, "/", "{}")


@pytest.mark.parametrize("mode", ["tolerant", "strict"])
def test_the_bodies_are_what_they_are_said_to_be(mode):
    validator = EventValidator(mode)
    for body in (events.small(), events.of_size(10), events.of_size(95)):
        assert validator.problems(body) == []
    assert [problem.pointer for problem in validator.problems(events.invalid())] == ["/tenant"]
    assert 800 < len(events.encoded(events.small())) < 1000
    assert 10_000 <= len(events.encoded(events.of_size(10))) < 11_000
    assert 95_000 <= len(events.encoded(events.of_size(95))) < 96_000


def test_the_linear_scan_finds_what_the_index_finds():
    for patterns in (matching.exact(20), matching.mixed(300), ["a.*.c", "*.b", "a.*", "*"]):
        index, size = matching._index(patterns)
        assert size > 0
        scan = matching.linear_scan(patterns)
        for name in ("s1.c1.d1", "s0.c0.x", "s99.any.d99", "any.c98.d98", "a.b.c", "a.b", "b", "a.b.c.d"):
            assert list(index.match(name)) == scan(name), name


def test_the_cpu_time_and_memory_of_a_process_and_its_children_are_found():
    work = "sum(range(10_000_000)); print(1, flush=True); input()"
    script = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {work!r}])"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdin
        assert parent.stdout
        assert parent.stdout.readline() == b"1\n"  # the child has done its work
        found = processes.tree(parent.pid)
        assert found[0] == parent.pid
        assert len(found) == 2
        used = processes.cpu_seconds(found)
        rss, pss = processes.memory_mib(found)
        parent.stdin.write(b"\n")
        parent.stdin.flush()
    assert used[found[1]] > 0
    assert rss > pss > 1
    assert processes.cpu_seconds([parent.pid]) == {}
    assert processes.command(parent.pid) == ""
    assert processes.parent(parent.pid) is None


def test_a_process_is_known_by_its_command_and_its_parent():
    assert processes.parent(os.getpid()) == os.getppid()
    assert processes.command(os.getpid()).startswith(sys.orig_argv[0])


def test_the_machine_has_been_as_busy_as_this_process_at_least():
    assert processes.machine_busy_seconds() >= time.process_time()
    assert os.getpid() in processes.tree(os.getpid())


def kernel_threads():
    """Those whose flags have PF_KTHREAD (Linux, include/linux/sched.h)."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(path.read_text().rpartition(")")[2].split()[6]) & 0x00200000:
                found.add(int(path.parent.name))
    return found


def test_everybodys_cpu_time_is_that_of_processes_and_not_of_the_kernel():
    busy = "import time\nwhile time.process_time() < 0.2: pass\ninput()"  # however fast the machine is
    with subprocess.Popen([sys.executable, "-c", busy], stdin=subprocess.PIPE) as other:
        wait_until(lambda: processes.everybody()[other.pid] > 0.1)
        assert {os.getpid(), os.getppid()} <= processes.everybody().keys()
        assert not kernel_threads() & processes.everybody().keys()
        other.communicate(b"\n")


def test_a_machine_in_use_is_told_from_a_quiet_one(monkeypatch):
    used = iter(range(100))
    monkeypatch.setattr(processes, "machine_busy_seconds", lambda: next(used))
    assert not processes.wait_for_quiet(patience=0.1)
    monkeypatch.setattr(processes, "machine_busy_seconds", lambda: 7.0)
    assert processes.wait_for_quiet(patience=0.1)


def test_cases_are_timed_in_turn():
    order = []
    cases = [Case(name, lambda name=name: order.append(name), operations=2) for name in "ab"]
    found = interleaved(cases, rounds=3)
    assert {name: len(times) for name, times in found.items()} == {"a": 3, "b": 3}
    changes = [name for name, before in zip(order, ["", *order], strict=False) if name != before]
    assert changes[-6:] == ["a", "b"] * 3
    assert ratio([2.0, 9.0, 4.0], [1.0, 3.0, 2.0]) == 2.0


def test_what_a_receiver_gets_is_counted_once_and_its_order_is_watched():
    ledger = Ledger(4)
    news = [ledger.add(key, number) for key, number in [("a", 0), ("b", 5), ("a", 2), ("a", 2), ("a", 1)]]
    assert news == [True, False, False, False, True]  # the first, and the last that had not come yet
    assert (ledger.received.again, ledger.received.overtaken) == (1, 1)


def test_a_receiver_tells_when_everything_has_come():
    with receiving(3) as receiver:
        for number in (0, 2, 1):
            answer = urllib3.request("POST", f"http://127.0.0.1:{receiver.port}/key/{number}", body=b"x" * 100_000)
            assert answer.status == 200
        receiver.wait_for_first(10)
        received = receiver.wait_for_all(10)
    assert (received.wanted, received.again, received.overtaken) == (3, 0, 1)
    assert received.per_second == 2 / received.seconds > 0


def test_a_receiver_is_not_waited_for_for_ever():
    with receiving(2) as receiver, pytest.raises(ServerError, match="not got everything"):
        receiver.wait_for_first(0.1)


def test_the_kits_worker_delivers_in_order_what_waits_for_it():
    with (
        receiving(30) as receiver,
        deliver._kit(stores.Store("SQLite"), 30, 1, receiver.port) as (command, environment),
    ):
        with process(command, environment) as (worker, output):
            receiver.wait_for_first(30)
            received = receiver.wait_for_all(30)
        assert worker.returncode == 128 + signal.SIGTERM, printed(output)
    assert (received.again, received.overtaken) == (0, 0)


def test_a_database_is_filled_as_it_is_said_to_be():
    with stores.Store("SQLite").database() as url:
        filled = backlog._Filled(stores.Store("SQLite"), 40, 10, url)
        filled.fill(lambda number: None)
        database = Database(url)
        counts = ("events", "deliveries WHERE status = 'waiting'")
        before = counted(database, counts)
        filled.measure(backlog._GROUP)
        after = counted(database, counts)
        filled.close()
        database.dispose()
    assert before == [40, 10]
    assert after[0] == 40 + backlog._GROUP
    assert after[1] <= 10  # as many deliveries were made as events were accepted, and some had been begun beyond that
    assert min(*filled.accept_us, *filled.delivery_us) > 0
    assert not Path(url.removeprefix("sqlite:///")).exists()


def counted(database, tables):
    with database.read() as connection:
        return [connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar() for table in tables]


def test_the_disk_is_measured():
    assert stores.fsyncs_per_second(0.05) > 0


def test_the_kits_metrics_are_read():
    def metrics(write, number):
        page = b'# HELP a what\na_sum 6.0\na_count 2.0\nb{path="/x y"} 1.5e3\n'
        write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(page), page))

    with serving(metrics) as (port, _):
        found = Running(Server("x", []), port=0, health_port=port, pid=0).metrics()
    assert found == {"a_sum": 6.0, "a_count": 2.0, 'b{path="/x y"}': 1500.0}
