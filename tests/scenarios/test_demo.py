"""What ``make run`` does: the demonstration runs for real, shows what it says, and leaves nothing behind."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.support.commands import extension_kit
from tests.support.paths import BIN
from tests.support.servers import free_port
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
EVENTS = (ROOT / "extensions/announce/events.jsonl").read_text().splitlines()
VARIABLES = {
    "PORT": "STEADYBIT_EXTENSION_PORT",
    "HEALTH_PORT": "STEADYBIT_EXTENSION_HEALTH_PORT",
    "EVENT_LOG_PORT": "EXTENSION_EVENT_LOG_PORT",
}
"""The settings of make, and those of the demonstration."""

TIMEOUT = 90


class Demo:
    """The demonstration on a copy of the examples, with a directory for temporary files of its own."""

    def __init__(self, directory: Path, ports: dict[str, int], stdin: int):
        self.checkout = directory / "checkout"
        self.temporary = directory / "tmp"
        self.temporary.mkdir()
        shutil.copytree(ROOT / "extensions", self.checkout / "extensions", ignore=shutil.ignore_patterns("__pycache__"))
        self.before = self.files()
        self._log = directory / "demo.log"
        with self._log.open("w") as output:
            self.process = subprocess.Popen(
                ["sh", self.checkout / "extensions/announce/demo.sh", BIN / "extension-kit"],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=stdin,
                cwd=directory,
                env={
                    "PATH": os.environ["PATH"],
                    **{variable: str(port) for variable, port in ports.items()},
                    "TMPDIR": str(self.temporary),
                    "COLUMNS": "200",
                },
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self._log.read_text()

    def files(self) -> set[Path]:
        return {path for path in self.checkout.rglob("*") if "__pycache__" not in path.parts}

    def is_gone(self) -> bool:
        """Whether neither files nor processes are left."""
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return self.files() == self.before and not any(self.temporary.iterdir())
        return False


@pytest.fixture
def demo(tmp_path):
    """Start the demonstration: ``with demo({PORT: 8080}) as running``; it is ended whatever happens."""

    @contextmanager
    def start(ports=None, stdin=subprocess.DEVNULL):
        running = Demo(tmp_path, {variable: free_port() for variable in VARIABLES.values()} | (ports or {}), stdin)
        try:
            yield running
        finally:
            if not running.is_gone():
                os.killpg(running.process.pid, signal.SIGKILL)
            running.process.wait(10)

    return start


def test_it_shows_retries_a_dead_letter_and_its_replay(demo):
    with demo() as running:
        assert running.process.wait(TIMEOUT) == 0, running.output
        assert running.is_gone()
    output = running.output
    assert len(re.findall(r"^(?:experiment|killswitch)\.[a-z.-]+ ", output, re.MULTILINE)) == len(EVENTS)
    assert re.findall(r"pager\.page@\S+ of .*: attempt (\d) failed, retry in ", output) == ["1", "2"]
    assert "pager: somebody on call knows of PLAT-30/60297" in output
    dead, replayed = output.split("$ extension-kit deliveries list --status dead")[1].split("$ mkdir reports")
    assert re.search(r"dead .* extension-pager\.report@", dead)
    assert "Replayed 1 dead letter." in replayed
    ended = replayed.split("$ extension-kit deliveries list --listener extension-pager.")[1]
    assert re.search(r"delivered \d+ (s|min) ago +3 .* extension-pager\.page@", ended)
    assert re.search(r"delivered \d+ (s|min) ago +2 .* extension-pager\.report@", ended)
    assert output.endswith("Rolling restart loses no request: failed (A check did not hold)\n")


@pytest.mark.parametrize("which", VARIABLES.values())
def test_a_taken_port_is_said_in_one_line(demo, which):
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with demo({which: port}) as running:
            assert running.process.wait(TIMEOUT) == 2, running.output
            assert running.is_gone()
    (line,) = [line for line in running.output.splitlines() if line and line[0] not in "#$"]
    assert f"port {port} " in line


needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
DEMONSTRATED = sorted(path.parent.name for path in (ROOT / "extensions").glob("*/demo.sh"))


def make(*words):
    environment = os.path.relpath(BIN.parent, ROOT)  # make knows no names with blanks
    # Not as a part of the make that may run the tests, or it tells of folders and shares its options.
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", "-o", f"{environment}/.installed", f"VENV={environment}", *words],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        env=variables,
    )


@needs_make
@pytest.mark.parametrize("which", VARIABLES)
@pytest.mark.parametrize("words", [["run"], ["demo", "EXTENSION=announce"]], ids=["run", "demo"])
def test_make_says_how_to_take_other_ports(words, which):
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        ports = {name: str(free_port()) for name in VARIABLES} | {which: str(taken.getsockname()[1])}
        done = make(*words, *map("=".join, ports.items()))
    assert done.returncode == 2
    assert f"port {ports[which]} " in done.stderr
    assert f"Other ports: make {' '.join(words)} PORT=9000 HEALTH_PORT=9001 EVENT_LOG_PORT=9002\n" in done.stderr


@needs_make
@pytest.mark.parametrize("words", [[], ["EXTENSION="], ["EXTENSION=announce/"], ["EXTENSION=pulp"]])
def test_make_demo_lists_what_it_can_show(words):
    done = make("demo", *words)
    assert (done.returncode, done.stdout) == (2, "")
    said = f"*** make demo EXTENSION=... shows one of: {' '.join(DEMONSTRATED)}.  Stop.\n"
    assert done.stderr.partition(": ")[2] == said


def test_events_are_not_played_against_another_server(demo, served):
    with served("prints") as other:
        with demo({VARIABLES["PORT"]: other.port, VARIABLES["HEALTH_PORT"]: other.health_port}) as running:
            assert running.process.wait(TIMEOUT) == 2, running.output
            assert running.is_gone()
        assert re.fullmatch(rf"extension-kit: port {other.port} .*\n", running.output)


def test_on_a_terminal_it_goes_on_serving_with_a_dead_letter_to_replay(demo):
    ours, terminal = os.openpty()
    port = free_port()
    try:
        with demo({VARIABLES["EVENT_LOG_PORT"]: port}, stdin=terminal) as running:
            wait_until(lambda: "Still serving at" in running.output, timeout=TIMEOUT)
            address = f"http://127.0.0.1:{port}"
            assert f"\n{address}/\n" in running.output
            assert f"\n{address}/deliveries?status=dead\n" in running.output
            with urlopen(f"{address}/", timeout=30) as page:
                assert page.status == 200
            (database,) = running.temporary.glob("*/events.db")
            listed = extension_kit(
                "deliveries", "list", "--status", "dead", "--json", EXTENSION_DATABASE_URL=f"sqlite:///{database}"
            )
            (dead,) = json.loads(listed.stdout)
            assert dead["listener"].startswith("extension-pager.report@")
            os.killpg(running.process.pid, signal.SIGINT)
            assert running.process.wait(TIMEOUT) == 130, running.output
            wait_until(running.is_gone)
    finally:
        os.close(ours)
        os.close(terminal)


def test_ctrl_c_ends_it_and_leaves_nothing(demo):
    with demo() as running:
        wait_until(lambda: "experiment.execution.requested" in running.output, timeout=TIMEOUT)
        os.killpg(running.process.pid, signal.SIGINT)
        assert running.process.wait(TIMEOUT) == 130, running.output
        wait_until(running.is_gone)
