"""What tests start and make is gone when they have ended, however they did: in good order, by Ctrl-C, or by kill -9.

Beside every process of pytest there is a keeper, a process of its own that waits for the end of the other one. It ends
what that one has started, known by a variable in its environment, removes its directory, and drops its databases.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

RUN = "TESTS_OF_EXTENSION_KIT"
"""The variable that says by which process of pytest something was started; its value is in the names of databases."""

SHARED, OWN = "TESTS_SHARED_DIRECTORY", "TESTS_OWN_DIRECTORY"
_DATABASE_SERVER = "TEST_POSTGRESQL_URL"
_LOOK_EVERY = 0.2  # seconds
_PATIENCE = 20.0  # seconds for servers to end by themselves

_keeper: subprocess.Popen[bytes] | None = None


def pytest_configure() -> None:
    """Have a keeper from now on, if there is none yet."""
    global _keeper
    if _keeper is not None:
        return
    directory = Path(f"/tmp/ekt-{uuid.uuid4().hex[:8]}")  # short, for the paths of sockets
    environment = {name: value for name, value in os.environ.items() if name != RUN}
    os.environ[RUN] = uuid.uuid4().hex[:12]
    os.environ[OWN] = str(directory)
    os.environ.setdefault(SHARED, str(directory))  # the one of the process that distributes the tests
    directory.mkdir()
    directory.chmod(0o755)
    _keeper = subprocess.Popen(
        [sys.executable, __file__, str(os.getpid()), os.environ[RUN], str(directory)],
        env=environment,
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # not reached by Ctrl-C
    )


def pytest_unconfigure() -> None:
    """Have the keeper do its work now, and wait for it."""
    global _keeper
    if _keeper is not None:
        _keeper.terminate()
        _keeper.wait(3 * _PATIENCE)
        _keeper = None


def own_directory() -> Path:
    """Where this process keeps files that are not a single test's; other users can look into it."""
    if OWN not in os.environ:
        pytest_configure()  # for others than pytest, such as benchmarks
    return Path(os.environ[OWN])


def shared_directory() -> Path:
    """The same, for all processes of pytest together."""
    return Path(os.environ[SHARED])


def new_name() -> str:
    """A name for a database, or for a schema in one, by which it is known whose it is."""
    return f"test_{os.environ.get(RUN, 'alone')}_{uuid.uuid4().hex}"


def started_by(run: str) -> Iterator[tuple[int, str]]:
    """Number and command of each process that was started by a process of pytest, or by what that has started."""
    mark = f"{RUN}={run}".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is somebody else's
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                yield int(entry.name), (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")


def _end(run: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while found := dict(started_by(run)):
        for number, command in found.items():
            # A PostgreSQL that is killed leaves its shared memory. One that crashes in good order removes it.
            in_good_order = re.search(r"(^|/)postgres ", command) and time.monotonic() < deadline
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGQUIT if in_good_order else signal.SIGKILL)
        if time.monotonic() > 2 * _PATIENCE + deadline:
            sys.exit(f"these do not end: {found}")
        time.sleep(_LOOK_EVERY)


def _drop_databases(url: str, run: str) -> None:
    import psycopg

    ours = "SELECT datname FROM pg_database WHERE starts_with(datname, %s)"
    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
            for (name,) in connection.execute(ours, [f"test_{run}_"]).fetchall():
                connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    except psycopg.OperationalError as error:
        sys.exit(f"databases whose names begin with test_{run}_ may be left: {error}")


def _keep(pytest_process: int, run: str, directory: str) -> None:
    from extension_kit.observability import shared_folder

    while os.getppid() == pytest_process and not signal.sigtimedwait([signal.SIGTERM], _LOOK_EVERY):
        pass
    _end(run)
    shutil.rmtree(directory, ignore_errors=True)
    shared_folder.sweep()
    if url := os.environ.get(_DATABASE_SERVER):
        _drop_databases(url, run)


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    _keep(int(sys.argv[1]), *sys.argv[2:])
