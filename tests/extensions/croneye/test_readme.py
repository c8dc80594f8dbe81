"""The README says what is so, and its example runs as it is written."""

import re
import subprocess
import sys
from pathlib import Path

from extensions.croneye.codes import EVENT_NAMES, LOST, OVERDUE
from tests.support.paths import BIN
from tests.support.servers import run_server
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[3]
README = (ROOT / "extensions/croneye/README.md").read_text(encoding="utf-8")
SERVICE, HANDLERS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_every_event_name_is_listed():
    table = README.partition("## Be told")[2].partition("\n## ")[0]
    shown = []
    for name in re.findall("`((?:croneye)?[.][a-z.-]+)`", table):
        shown.append(name if name.startswith("croneye") else shown[-1].rpartition(".")[0] + name)
    assert sorted(shown) == sorted([*EVENT_NAMES.values(), OVERDUE, LOST])


def test_the_service_and_its_listener_work_as_they_stand(tmp_path):
    lines = [line for line in SERVICE.splitlines() if line]
    assert len(lines) <= 10
    (tmp_path / "oncall.py").write_text(HANDLERS)
    command = [str(BIN / "extension-kit"), "serve", str(ROOT / "extensions/croneye"), "oncall.py"]
    with run_server(command, tmp_path / "log", cwd=tmp_path, EXTENSION_CRONEYE_TOKEN="change-me") as server:
        wait_until(lambda: server.health("readiness") == 200)
        (tmp_path / "service.py").write_text(SERVICE.replace("http://localhost:8080", server.url))
        service = subprocess.Popen([sys.executable, "service.py"], cwd=tmp_path, stderr=subprocess.DEVNULL)
        try:
            expected = "billing: write_invoices croneye.job.error: RuntimeError('no more paper')"
            wait_until(lambda: expected in server.log)
        finally:
            service.terminate()
            service.wait(30)
