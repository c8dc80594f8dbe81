"""Settings of an extension, from its file to running processes: printed, checked at the start, and heeded."""

import os
import subprocess

import pytest

from tests.support.commands import extension_kit
from tests.support.durable import database_url, postgresql_server, postgresql_url
from tests.support.paths import APPS, KIT
from tests.support.waiting import wait_until

DESK = APPS / "desk.py"
__all__ = ["database_url", "postgresql_server", "postgresql_url"]


@pytest.fixture
def tables():
    return ()


def start(tmp_path, *command, **settings):
    """The end of a process that does not get to serve anything."""
    more = {
        "EXTENSION_DATABASE_URL": f"sqlite:///{tmp_path}/extension.db",
        "EXTENSION_EVENT_LOG_OPEN": "loopback",
        "EXTENSION_EVENT_LOG_PORT": "0",
        "STEADYBIT_EXTENSION_PORT": "0",
        "STEADYBIT_EXTENSION_HEALTH_PORT": "0",
    }
    environment = {**os.environ, **more, **settings}
    return subprocess.run([KIT, *command], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)


def test_settings_decide_the_listeners_of_all_processes(served, event, database_url):
    settings = {"EXTENSION_DESK_NAMES": "front,back", "EXTENSION_DESK_TOKEN": "ding", "EXTENSION_DESK_EVENT": "x"}
    with served("desk", EXTENSION_DATABASE_URL=database_url, **settings) as server:
        listeners = server.request("GET", "/").json["eventListeners"]
        assert [each["path"] for each in listeners] == ["/events/desk/back", "/events/desk/front"]
        assert server.post("/events/desk/back", event("killswitch.engaged")).status == 200
        wait_until(lambda: "ringing at the back desk: killswitch.engaged, ding" in server.log)
        assert "EXTENSION_DESK_EVENT is not a setting: did you mean EXTENSION_DESK_EVENTS?" in server.log
        assert "EXTENSION_DESK_NAMES is not" not in server.log


CONFIGURE = "extension-desk: add_desks of @extension.configure"
NOT_SET = ("", "EXTENSION_DESK_NAMES is not set: write the names of desks, such as front,back")


@pytest.mark.parametrize(
    ("command", "desks", "complaint"),
    [
        *((command, *NOT_SET) for command in ("serve", "worker", "event-log", "openapi")),
        ("serve", ",", 'EXTENSION_DESK_NAMES is ",": names separated by commas is allowed'),
        (
            "serve",
            "roof",
            "extension-desk: add_desks of @extension.configure: LookupError: there is no desk on the roof",
        ),
    ],
)
def test_what_cannot_work_ends_the_start_in_one_line(tmp_path, command, desks, complaint):
    done = start(tmp_path, command, DESK, EXTENSION_DESK_NAMES=desks)
    *log, line = done.stderr.splitlines()
    assert (done.returncode, done.stdout, line) == (2, "", f"extension-kit: {complaint}")
    assert all("probes server" in each for each in log), log


def test_a_listener_that_settings_decide_can_be_paused(tmp_path):
    url = f"sqlite:///{tmp_path}/extension.db"
    assert extension_kit("db", "upgrade", EXTENSION_DATABASE_URL=url).returncode == 0
    command = ("receivers", "pause", "extension-desk.front@/events/desk/front", DESK)
    done = extension_kit(*command, EXTENSION_DATABASE_URL=url, EXTENSION_DESK_NAMES="front")
    assert done.stdout.startswith("Paused extension-desk.front@/events/desk/front.")
    done = extension_kit(*command, EXTENSION_DATABASE_URL=url, EXTENSION_DESK_NAMES="back")
    assert "there are: extension-desk.back@/events/desk/back" in done.stderr


def test_a_bad_declaration_is_told_with_its_place(tmp_path):
    (tmp_path / "oncall.py").write_text(DESK.read_text().replace("EXTENSION_DESK_TOKEN", "DESK_TOKEN"))
    done = start(tmp_path, "openapi", "oncall.py")
    assert done.returncode == 2
    problem = "DeskSettings: the variable of a setting is like EXTENSION_ONCALL_URL, not 'DESK_TOKEN'"
    assert done.stderr == f"extension-kit: oncall.py: {problem} (oncall.py, line 20)\n"


class TestCommand:
    """``extension-kit settings``"""

    def test_it_prints_the_settings_of_an_extension_without_their_values(self):
        done = subprocess.run([KIT, "settings", DESK], capture_output=True, text=True, timeout=60, check=True)
        assert done.stdout == (
            "| variable | default | meaning |\n"
            "|---|---|---|\n"
            "| `EXTENSION_DESK_NAMES` |  | Desks to ring at. Allowed: names separated by commas. |\n"
            "| `EXTENSION_DESK_EVENTS` | `killswitch.*` | Events to ring for. Allowed: names of events, or patterns "
            "such as experiment.execution.*, separated by commas. |\n"
            "| `EXTENSION_DESK_TOKEN` |  | Token of the bell. |\n"
        )

    def test_it_prints_those_of_the_kit(self):
        printed = extension_kit("settings").stdout
        assert printed.startswith("### Addresses and TLS\n\n| variable | default | acts in | meaning |\n")
        assert "| `STEADYBIT_EXTENSION_PORT` | `8080` | serve | Port that agents call." in printed

    def test_it_prints_those_of_several_extensions_under_their_names(self):
        printed = extension_kit("settings", DESK, "extensions/announce", "extensions/croneye").stdout
        headings = [line for line in printed.splitlines() if line.startswith("#")]
        assert headings == ["## extension-desk", "## extension-announce", "## extension-croneye"]
        assert "\nextension-announce has no settings of its own.\n" in printed
        assert "| `EXTENSION_CRONEYE_TOKEN` |" in printed

    def test_text_is_for_terminals(self):
        lines = extension_kit("settings", DESK, "--format", "text").stdout.splitlines()
        assert lines[0].split() == ["variable", "default", "meaning"]
        assert lines[2].split()[0] == "EXTENSION_DESK_NAMES"
        assert all(len(line) <= 120 for line in lines)

    def test_a_file_that_is_not_there_is_told(self):
        done = extension_kit("settings", "desks.py")
        assert (done.returncode, done.stderr) == (2, "extension-kit: desks.py: there is no such file or folder\n")
