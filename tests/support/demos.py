"""Demonstrations of ready-made extensions, run as ``make demo`` runs them."""

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from tests.support.paths import BIN
from tests.support.servers import free_port
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]


def run_demo(name: str, directory: Path, timeout: float = 100) -> str:
    """Run the demonstration of an extension to its end, and return the output; nothing is left behind."""
    ports = ("STEADYBIT_EXTENSION_PORT", "STEADYBIT_EXTENSION_HEALTH_PORT", "EXTENSION_EVENT_LOG_PORT")
    process = subprocess.Popen(
        ["sh", ROOT / f"extensions/{name}/demo.sh", BIN / "extension-kit"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={
            "PATH": os.environ["PATH"],
            "TMPDIR": str(directory),
            "COLUMNS": "200",
            **{variable: str(free_port()) for variable in ports},
        },
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=timeout)
        assert process.returncode == 0, output
        wait_until(lambda: _is_gone(process.pid))
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert list(directory.iterdir()) == []
    return output


def _is_gone(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False
