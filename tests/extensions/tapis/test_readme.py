"""The README says what is so, and its examples run as they are written."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.extensions.tapis.tapipy_process import HERE
from tests.support.paths import BIN
from tests.support.receivers import receiver
from tests.support.servers import run_server
from tests.support.waiting import wait_until

__all__ = ["receiver"]  # fixture

ROOT = Path(__file__).parents[3]
README = (ROOT / "extensions/tapis/README.md").read_text(encoding="utf-8")
SERVICE, HANDLERS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
SECRET = "a-secret-of-32-characters-or-more"


@pytest.mark.skipif(not HERE.exists(), reason="make test installs Tapis's own client, tapipy")
def test_the_quickstart_runs_as_it_stands(tmp_path, receiver):
    lines = [line for line in SERVICE.splitlines() if line]
    assert len(lines) <= 15
    (tmp_path / "follow.py").write_text(HANDLERS)
    hook = receiver()
    environment = {"EXTENSION_TAPIS_JWT_SECRET": SECRET, "EXTENSION_DELIVERY_ALLOW_NETWORKS": "127.0.0.0/8"}
    command = [str(BIN / "extension-kit"), "serve", str(ROOT / "extensions/tapis"), "follow.py"]
    with run_server(command, tmp_path / "log", cwd=tmp_path, **environment) as server:
        wait_until(lambda: server.health("readiness") == 200)
        service = SERVICE.replace("http://localhost:8080", server.url)
        (tmp_path / "service.py").write_text(
            service.replace("https://receiver.example.com/hook", hook.url("/hook", "127.0.0.1"))
        )
        subprocess.run([HERE, "service.py"], cwd=tmp_path, check=True, timeout=60)
        wait_until(lambda: len(hook.requests) == 3)
        for place, status in enumerate(("queued", "running", "finished"), 1):
            line = f"{place}. run-1 of dev: jobs.new_status.{status}"
            wait_until(lambda line=line: line in server.log)
