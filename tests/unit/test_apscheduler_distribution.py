"""The client for APScheduler as its own distribution has it: without the kit, and on systems without forks."""

import json
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest
from apscheduler.events import (
    EVENT_JOB_ADDED,
    EVENT_JOB_EXECUTED,
    EVENT_JOB_SUBMITTED,
    EVENT_SCHEDULER_SHUTDOWN,
    EVENT_SCHEDULER_STARTED,
)

from clients.apscheduler import hatch_build
from tests.support.receivers import Receiver, reply

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "clients/apscheduler"
DEPENDENCIES = {"apscheduler", "urllib3"}
OPTIONAL = {
    "backports",
    "brotli",
    "brotlicffi",
    "h2",
    "pytz",
    "six",
    "typing_extensions",
    "tzlocal",
    "zstandard",
}
"""Packages that only some versions of the dependencies import, or only where they are installed."""

LIKE_WINDOWS = """
import os, select, signal, socket, sys
for module in ("fcntl", "grp", "pwd", "resource", "termios"):
    sys.modules[module] = None
for module, names in {
    os: ("fork", "forkpty", "getuid", "register_at_fork", "O_NONBLOCK", "O_CLOEXEC", "O_NOFOLLOW"),
    select: ("poll", "epoll", "kqueue"),
    signal: ("SIGKILL", "SIGHUP", "SIGALRM", "pthread_kill", "setitimer"),
    socket: ("AF_UNIX", "socketpair", "send_fds"),
}.items():
    for name in names:
        vars(module).pop(name, None)
"""
SERVICE = """
import threading
from apscheduler.events import EVENT_JOB_EXECUTED
from apscheduler.schedulers.background import BackgroundScheduler
from extension_kit.apscheduler import CronEyeListener

ended = threading.Event()
scheduler = BackgroundScheduler()
CronEyeListener(sys.argv[1], "token", "billing").attach(scheduler)
scheduler.add_listener(lambda event: ended.set(), EVENT_JOB_EXECUTED)
scheduler.start()
scheduler.add_job(lambda: "sent", id="invoices")
assert ended.wait(60)
scheduler.shutdown()
"""

TOLD = {
    EVENT_SCHEDULER_STARTED,
    EVENT_JOB_ADDED,
    EVENT_JOB_SUBMITTED,
    EVENT_JOB_EXECUTED,
    EVENT_SCHEDULER_SHUTDOWN,
}


@pytest.fixture(scope="module")
def modules(tmp_path_factory):
    folder = tmp_path_factory.mktemp("client")
    hatch_build.write_modules(ROOT, folder)
    return folder


def run(modules, code, *arguments):
    """Run a program with the distribution's modules and installed packages, but without the kit of the checkout."""
    paths = [str(modules), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    program = f"import sys; sys.path += {paths!r}\n{code}"
    command = [sys.executable, "-I", "-S", "-c", program, *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended


def test_it_loads_no_more_than_its_dependencies_and_nothing_of_the_server(modules):
    code = "import extension_kit.apscheduler; print(*sys.modules)"
    loaded = run(modules, code).stdout.split()
    own = {name for name in loaded if name.startswith("extension_kit")}
    assert {name for name in own if name.startswith("extension_kit.")} == {"extension_kit.apscheduler"}
    assert {name.split(".")[1] for name in own if name.startswith("extension_kit_apscheduler.")} == {
        "apscheduler",
        "errors",
        "outgoing",
        "senders",
    }
    others = {name.partition(".")[0] for name in loaded} - set(sys.stdlib_module_names) - {"__main__"}
    assert DEPENDENCIES <= others <= DEPENDENCIES | OPTIONAL | {"extension_kit", "extension_kit_apscheduler"}


def test_it_exports_what_the_kit_exports(modules):
    code = "import extension_kit.apscheduler as it; print(*sorted(name for name in vars(it) if name[0].isupper()))"
    assert run(modules, code).stdout.split() == ["ConfigurationError", "CronEyeListener"]
    kit = subprocess.check_output([sys.executable, "-c", code], text=True, timeout=60)
    assert kit.split() == ["ConfigurationError", "CronEyeListener"]


@pytest.mark.parametrize("system", ["", LIKE_WINDOWS], ids=["this one", "like Windows"])
def test_it_sends_the_events_of_a_scheduler(modules, system):
    receiver = Receiver(answer=lambda request: reply(body=b"{}"))
    try:
        run(modules, system + SERVICE, receiver.url("", "127.0.0.1"))
    finally:
        receiver.server.close()
    events = [json.loads(request.body) for request in receiver.requests]
    assert {event["event_code"] for event in events} >= TOLD
    assert [event["return_value"] for event in events if "return_value" in event] == ["sent"]


def test_a_module_that_imports_the_server_cannot_be_copied(tmp_path):
    client = tmp_path / "extension_kit/apscheduler"
    client.mkdir(parents=True)
    (client / "__init__.py").write_text("from extension_kit.apscheduler.listener import listen\n")
    (client / "listener.py").write_text("from extension_kit import Extension\n")
    with pytest.raises(ValueError, match=r"apscheduler/listener\.py imports extension_kit, and with it the server"):
        hatch_build.write_modules(tmp_path, tmp_path / "copies")


def test_it_takes_the_versions_of_python_and_apscheduler_that_the_kit_takes():
    own, kit = (tomllib.loads((folder / "pyproject.toml").read_text())["project"] for folder in (CLIENT, ROOT))
    assert own["requires-python"] == kit["requires-python"]
    of_scheduler = [wanted for wanted in own["dependencies"] if wanted.startswith("apscheduler")]
    assert of_scheduler == kit["optional-dependencies"]["apscheduler"]
