"""Tries the distributions in a folder as their users would: each in an environment of its own."""

import os
import socket
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

ROOT = Path(__file__).parents[1]
_SECONDS = 600
_ARRIVES_WITHIN = 60  # seconds
_KINDS = {"the wheels": "--only-binary", "the source distributions": "--no-binary"}
_TOKEN = "tried-token"  # noqa: S105 (of a server that ends with this command)

# A service whose other packages hold it back, and whose scheduler uses them.
_BESIDE_THE_CLIENT = ["sqlalchemy<2", "apscheduler>=3.11,<4"]
_SERVICE = """
import sys, threading
import sqlalchemy
from apscheduler.events import EVENT_JOB_ERROR
from apscheduler.schedulers.background import BackgroundScheduler
from extension_kit.apscheduler import CronEyeListener

assert sqlalchemy.__version__.startswith("1.4."), sqlalchemy.__version__
ended = threading.Event()

def write_invoices():
    raise RuntimeError("no more paper")

scheduler = BackgroundScheduler()
scheduler.add_jobstore("sqlalchemy", url="sqlite:///jobs.db")
listener = CronEyeListener(sys.argv[1], sys.argv[2], "billing")
listener.attach(scheduler)
scheduler.add_listener(lambda event: ended.set(), EVENT_JOB_ERROR)
scheduler.start()
scheduler.add_job(write_invoices, id="invoices")
assert ended.wait(60)
scheduler.shutdown()
assert listener.flush(60) and not listener.refused and not listener.dropped
loaded = sorted({"flask", "gunicorn", "marshmallow", "orjson", "psycopg"} & set(sys.modules))
assert not loaded, loaded
"""
_ONCALL = """
from extension_kit import Extension

extension = Extension("extension-oncall")

@extension.listen_to("croneye.scheduler.started", "croneye.job.error", "croneye.scheduler.shutdown")
def call(event):
    print(f"{event.name} of {event.scheduler}: {event.exception}", flush=True)
"""
_ARRIVED = {
    "croneye.scheduler.started of billing: None",
    "croneye.job.error of billing: RuntimeError('no more paper')",
    "croneye.scheduler.shutdown of billing: None",
}
_BOTH = "import extension_kit, extension_kit.apscheduler as it; assert it.__file__.endswith('__init__.py'), it.__file__"

console = Console(stderr=True)


def main(folder: Path) -> None:
    """Install the wheels, then the source distributions, and use each of them.

    The kit makes an extension that passes its own test. The client, alone in its environment, sends the events of a
    real scheduler to the extension croneye of the kit.
    """
    for kind, option in _KINDS.items():
        with tempfile.TemporaryDirectory() as made, console.status(f"Trying {kind} ..."):
            place = Path(made)
            python, service = _environment(place / "env"), _environment(place / "service-env")
            install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--find-links", folder]
            _run(place, python, *install, option, "extension-kit", "extension-kit[testing,croneye,apscheduler]")
            kit = python.with_name("extension-kit")
            _run(place, kit, "new", "oncall")
            _run(place / "oncall", python, *install, "--requirement", "requirements.txt")
            _run(place / "oncall", python, "-m", "pytest", "--quiet")
            _run(place / "oncall", kit, "openapi", "oncall.py")

            client = "extension-kit-apscheduler"
            _run(place, service, *install, option, client, client, *_BESIDE_THE_CLIENT)
            _run(place, service, "-m", "pip", "check")
            _send_events(place, kit, service)

            _run(place, python, *install, option, client, client)
            _run(place, python, "-c", _BOTH)
            _run(place, python, "-m", "pip", "uninstall", "--quiet", "--yes", client)
            _run(place, python, "-c", _BOTH)
        console.print(f"{kind} work", style="green")


def _send_events(place: Path, kit: Path, service: Path) -> None:
    """Serve croneye with the kit, run a service with the client, and wait for a function to print its events."""
    (place / "told.py").write_text(_ONCALL)
    (place / "service.py").write_text(_SERVICE)
    with _served(place, kit) as (url, printed):
        _run(place, service, "service.py", url, _TOKEN)
        if not _comes_true(lambda: set(printed.read_text().splitlines()) >= _ARRIVED):
            raise SystemExit(f"Events of the client have not arrived at the server, which says:\n{_said(place)}")


@contextmanager
def _served(place: Path, kit: Path) -> Iterator[tuple[str, Path]]:
    """Serve croneye on free ports; yield its URL and the file with all that its functions print."""
    port, health_port = _free_ports()
    settings = {
        "STEADYBIT_EXTENSION_PORT": str(port),
        "STEADYBIT_EXTENSION_HEALTH_PORT": str(health_port),
        "EXTENSION_DATABASE_URL": f"sqlite:///{place / 'extension.db'}",
        "EXTENSION_CRONEYE_TOKEN": _TOKEN,
    }
    printed = place / "printed"
    command = [str(kit), "serve", str(ROOT / "extensions/croneye"), "told.py"]
    with printed.open("w") as out, (place / "log").open("w") as log:
        server = subprocess.Popen(command, cwd=place, env=os.environ | settings, stdout=out, stderr=log)  # noqa: S603 (our own)
    try:
        if not _comes_true(lambda: _listens(port) or server.poll() is not None) or server.poll() is not None:
            raise SystemExit(f"croneye is not served:\n{_said(place)}")
        yield f"http://127.0.0.1:{port}", printed
    finally:
        server.terminate()
        server.wait(_SECONDS)


def _said(place: Path) -> str:
    return (place / "printed").read_text() + (place / "log").read_text()


def _free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def _comes_true(condition: Callable[[], bool]) -> bool:
    ends_at = time.monotonic() + _ARRIVES_WITHIN
    while not (met := condition()) and time.monotonic() < ends_at:
        time.sleep(0.1)
    return met


def _environment(place: Path) -> Path:
    venv.create(place, with_pip=True)
    return place / "bin/python"


def _run(cwd: Path, *command: object) -> None:
    given = [str(part) for part in command]
    done = subprocess.run(given, cwd=cwd, capture_output=True, text=True, timeout=_SECONDS)  # noqa: S603 (our own)
    if done.returncode:
        raise SystemExit(f"{' '.join(given)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
