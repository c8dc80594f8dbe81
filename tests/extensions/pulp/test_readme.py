"""The README says what is so, and its quickstart and its examples run as they are written."""

import json
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from extensions.pulp.event_types import PULP_TYPES
from tests.support.paths import BIN
from tests.support.servers import free_port, run_server
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[3]
README = (ROOT / "extensions/pulp/README.md").read_text(encoding="utf-8")
RECEIVER, FOLLOW, MIRROR = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
(REQUESTS,) = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
(VARIABLE,) = {line.split()[0] for line in README.splitlines() if line.startswith("    EXTENSION_")}


@contextmanager
def receiver(folder, port):
    """Run the receiver of the README, and have the lines that it has printed."""
    (folder / "receiver.py").write_text(RECEIVER.replace("9000", str(port)))
    with (folder / "received").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "receiver.py"], cwd=folder, stdout=output, stderr=subprocess.DEVNULL
        )
        try:
            yield lambda: [json.loads(line) for line in (folder / "received").read_text().splitlines()]
        finally:
            process.terminate()
            process.wait(30)


def test_every_event_type_is_named():
    listen = README.partition("## Listen")[2].partition("\n## ")[0]
    assert [name for name in PULP_TYPES if f"`{name}`" not in listen] == []


def test_the_quickstart_and_the_examples_work_as_they_stand(tmp_path):
    (tmp_path / "follow.py").write_text(FOLLOW)
    (tmp_path / "mirror.py").write_text(MIRROR)
    served = [str(BIN / "extension-kit"), "serve", str(ROOT / "extensions/pulp"), "follow.py", "mirror.py"]
    port = free_port()
    environment = dict([VARIABLE.split("=")])
    with (
        run_server(served, tmp_path / "log", cwd=tmp_path, **environment) as server,
        receiver(tmp_path, port) as received,
    ):
        wait_until(lambda: server.health("readiness") == 200)
        script = REQUESTS.replace("http://localhost:8080", server.url).replace("9000", str(port))
        run = subprocess.run(["sh", "-ec", script], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert run.returncode == 0, run.stderr
        assert '"is_new": true' in run.stdout
        wait_until(lambda: received() != [])
        (first,) = received()
        assert first["payload"] == {"repo_id": "zoo", "result": "success"}
        wait_until(lambda: f"zoo: success in task {first['call_report']['task_id']}" in server.log)
        assert server.request("POST", "/mirror/animals").status == 200
        wait_until(lambda: len(received()) == 2)
        assert received()[1]["payload"]["repo_id"] == "animals"
        wait_until(lambda: "animals: success in task None" in server.log)
