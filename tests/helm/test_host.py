"""The files for hosts: systemd takes the unit, what it starts serves the agent, which finds it by its file."""

import json
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from extension_kit.cli import commands
from tests.helm.confinement import USER, Volume, confined, give
from tests.support.paths import BIN
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(300)  # the first test with the image builds it

PACKAGING = Path(__file__).parents[2] / "packaging"
UNIT = (PACKAGING / "systemd/extension@.service").read_text(encoding="utf-8").replace("%i", "oncall")
SOCKET = "/run/steadybit/extension-oncall.sock"


def entries(name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", UNIT, re.MULTILINE)


def variables(lines: list[str]) -> dict[str, str]:
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@pytest.fixture
def unit(tmp_path):
    """The unit as it is, but for a program and a user that are there."""
    text = (PACKAGING / "systemd/extension@.service").read_text(encoding="utf-8")
    text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.MULTILINE)
    file = tmp_path / "extension@oncall.service"
    file.write_text(text.replace("User=steadybit", "User=root"))
    return file


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("arguments", [("verify",), ("security", "--offline=true", "--threshold=25")])
def test_systemd_takes_the_unit(unit, arguments):
    """``security`` gives a unit without any protection 96 points, and one that may do nothing 0."""
    result = subprocess.run(["systemd-analyze", *arguments, unit], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr
    assert str(unit.name) not in result.stderr, result.stderr


def test_agents_find_the_socket_by_the_file():
    file = (PACKAGING / "extensions.d/extension-oncall.yaml").read_text(encoding="utf-8")
    printed = CliRunner().invoke(commands, ["registration", f"unix:{SOCKET}", "--file"]).output
    assert file == printed
    assert yaml.safe_load(file) == {"unixSocket": SOCKET, "types": ["EVENT"]}
    assert variables(entries("Environment"))["STEADYBIT_EXTENSION_UNIX_SOCKET"] == SOCKET


def test_what_the_unit_starts_serves_the_agent_of_the_host(image, scratch, event, tmp_path):
    """The directories are those that systemd makes, and nothing else can be written."""
    host = scratch / "host"
    volumes = {f"/var/lib/{entries('StateDirectory')[0]}", f"/run/{entries('RuntimeDirectory')[0]}", "/tmp"}
    mounted = {path: Volume(host / path.lstrip("/")) for path in volumes}
    for volume in mounted.values():
        volume.source.mkdir(parents=True)
        give(volume.source, USER)
    installed = host / "opt"
    installed.mkdir()
    (installed / ".venv").symlink_to("/opt/extension")
    (installed / "oncall.py").write_text(
        "from extension_kit import Event, Extension\n\n"
        'extension = Extension("extension-oncall")\n\n\n'
        '@extension.listen_to("killswitch.engaged")\n'
        "def page(event: Event) -> None:\n"
        '    print("paged for", event.id, flush=True)\n'
    )
    (directory,) = entries("WorkingDirectory")
    mounted[directory] = Volume(installed, read_only=True)
    settings = (PACKAGING / "systemd/extension-oncall").read_text(encoding="utf-8").splitlines()
    environment = variables(entries("Environment")) | variables(settings)
    (start,) = entries("ExecStart")
    command = start.replace("$HANDLERS", environment["HANDLERS"]).split()
    log = tmp_path / "log"
    with log.open("w") as output:
        server = subprocess.Popen(
            confined(image.root, command, environment, directory=directory, volumes=mounted),
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
    try:
        sent = event("killswitch.engaged")
        (tmp_path / "events.json").write_text(json.dumps([sent]))
        address = f"unix:{host}{SOCKET}"
        agent = [BIN / "extension-kit", "agent", address, "--replay", tmp_path / "events.json", "--wait", "60"]
        result = subprocess.run(agent, capture_output=True, text=True, timeout=90)
        assert result.returncode == 0, result.stdout + result.stderr + log.read_text()
        wait_until(lambda: f"paged for {sent['id']}" in log.read_text())
        server.send_signal(signal.SIGTERM)
        assert server.wait(int(entries("TimeoutStopSec")[0])) == int(entries("SuccessExitStatus")[0])
    finally:
        server.kill()
        server.wait(10)
