"""The README and the other pages say what is so: their examples and commands run, their tables are complete."""

import re
import runpy
import shlex
import shutil
import subprocess
import sys
from base64 import b64encode
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from extension_kit import AccessTokenPrincipal, BatchPrincipal, Event, Extension, UserPrincipal, protocol
from extension_kit.cli import commands
from extension_kit.events.registration_document import serialize
from extension_kit.events.steadybit import (
    Environment,
    ExperimentExecution,
    ExperimentStepExecution,
    ExperimentStepTargetExecution,
    Team,
    Tenant,
)
from extension_kit.settings.readme_table import with_settings_table
from tests.support.commands import extension_kit
from tests.support.servers import serve_app
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "extensions").glob("**/README.md"))]
EXAMPLE, TEST, RETRIES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
PROTOCOLS = (ROOT / "docs" / "protocols.md").read_text()
PROTOCOL_EXAMPLE, TOOLKIT_EXAMPLE = re.findall(r"```python\n(.*?)```", PROTOCOLS, re.DOTALL)


TABLES = runpy.run_path(str(ROOT / "tools" / "write_settings.py"))["TABLES"]


@pytest.mark.parametrize("name", TABLES)
def test_the_settings_table_is_fresh(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert with_settings_table(text, *TABLES[name]) == text, "run: make settings"


@pytest.mark.parametrize("name", sorted(commands.commands))
def test_every_command_is_described(name):
    assert f"extension-kit {name} " in README
    result = CliRunner().invoke(commands, [name, "--help"])
    assert result.exit_code == 0


def test_the_options_of_the_agent_are_all_described():
    section = README.partition("## Play an agent")[2].partition("\n## ")[0]
    described = set(re.findall(r"`(--[a-z-]+)", section))
    assert described == {name for option in commands.commands["agent"].params for name in option.opts} - {"url"}


RINGS = "\n\ndef ring() -> None:\n    pass\n"


def test_the_first_example_and_its_tests_work_as_they_stand(tmp_path):
    (tmp_path / "oncall.py").write_text(EXAMPLE + "    ring()\n" + RINGS)
    (tmp_path / "test_oncall.py").write_text(TEST + RETRIES)
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert "2 passed" in result.stdout, result.stdout + result.stderr


def test_the_registration_document_is_the_one_shown(tmp_path, monkeypatch):
    from extension_kit.loading import load_extensions

    (tmp_path / "readme_example.py").write_text(EXAMPLE)
    (extension,) = load_extensions([str(tmp_path / "readme_example.py")])
    shown = re.search(r"```json\n(.*?)```", README, re.DOTALL).group(1)
    assert serialize(extension.registry)[0].decode() == shown


def test_the_example_of_settings_is_served_as_they_say(tmp_path):
    page = (ROOT / "docs/extensions.md").read_text(encoding="utf-8")
    (tmp_path / "settings_example.py").write_text(re.search(r"```python\n(.*?)```", page, re.DOTALL).group(1))
    settings = {"EXTENSION_ONCALL_URL": "http://desk", "EXTENSION_ONCALL_TEAMS": "first,second"}
    document = extension_kit("openapi", tmp_path / "settings_example.py", **settings).stdout
    assert re.findall(r"/events/oncall/\w+(?=:$)", document, re.MULTILINE) == [
        "/events/oncall/first",
        "/events/oncall/second",
    ]


@pytest.mark.parametrize(
    ("attribute", "views"),
    [
        ("name", [Event]),
        ("tenant", [Tenant]),
        ("team", [Team]),
        ("environment", [Environment]),
        ("principal", [UserPrincipal, AccessTokenPrincipal, BatchPrincipal]),
        ("experiment_execution", [ExperimentExecution]),
        ("experiment_step_execution", [ExperimentStepExecution]),
        ("experiment_step_target_execution", [ExperimentStepTargetExecution]),
    ],
)
def test_the_attributes_of_the_event_exist(attribute, views):
    section = README.partition("### The event")[2].partition("\n## ")[0]
    (row,) = re.findall(rf"^\| (`{attribute}`.*) \|$", section, re.MULTILINE)
    own, _, shown = row.partition(" | ")
    assert [name for name in re.findall(r"`([a-z_]+)`", own) if not hasattr(Event, name)] == []
    named = re.findall(r"`([a-z_]+)`", shown)
    assert [name for name in named if not any(hasattr(view, name) for view in views)] == []
    attributes = {name for view in views for name in dir(view) if not name.startswith("_")}
    if views != [Event]:
        assert attributes - set(named) == {"raw"}
    else:
        first = re.findall(r"^\| (`[^|]*) \|", section, re.MULTILINE)
        assert attributes - set(re.findall(r"`([a-z_]+)`", " ".join(first))) == {"from_body"}


def test_a_function_is_at_the_path_that_is_said():
    extension = Extension("x")

    @extension.listen_to("*")
    def post_failure() -> None: ...

    (listener,) = extension.listeners
    assert f"`post_failure` becomes `{listener.path}`" in README


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_it_names_is_there(page):
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


def documented_commands() -> list[list[str]]:
    """The arguments of every ``extension-kit ...`` in code on the pages."""
    texts = (page.read_text() for page in PAGES if page.name != "architecture.md")  # which names groups of them
    found = {
        tuple(shlex.split(line, comments=True)[1:])
        for text in texts
        for line in re.findall(r"(?:^ *|(?<=`))extension-kit [^`\n]+", text, re.MULTILINE)
    }
    return [list(arguments) for arguments in sorted(found)]


@pytest.fixture
def in_folder_of_pages(tmp_path, monkeypatch):
    """The working directory has the extensions that the pages name."""
    (tmp_path / "doorbell.py").write_text(PROTOCOL_EXAMPLE)
    for name in ("systems.yaml", "bank.yaml"):
        (tmp_path / name).touch()
    (tmp_path / "extensions").symlink_to(ROOT / "extensions")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("in_folder_of_pages")
@pytest.mark.parametrize("arguments", documented_commands(), ids=" ".join)
def test_a_documented_command_exists_with_its_options(arguments):
    command: click.Command | None = commands
    while isinstance(command, click.Group) and arguments:
        context = click.Context(command)
        _, (name, *arguments), _ = command.make_parser(context).parse_args(arguments)
        command = command.get_command(context, name)
        assert command is not None, name
    if arguments:
        with command.make_context(None, arguments):  # raises for an unknown option and for a missing argument
            pass


def test_every_documented_command_works_on_a_database(tmp_path, monkeypatch, served, event):
    seed = tmp_path / "seed"
    seed.mkdir()
    (seed / "doorbell.py").write_text(PROTOCOL_EXAMPLE)
    (seed / "extensions").symlink_to(ROOT / "extensions")
    failing = 'raise (ZeroDivisionError if run.reason == "later" else GiveUp)('
    always_dead = EXAMPLE.replace("print(", failing).replace("import Event", "import GiveUp, Event")
    (tmp_path / "oncall.py").write_text(always_dead)
    with served(str(tmp_path / "oncall"), EXTENSION_DATABASE_URL=f"sqlite:///{seed}/extension.db") as server:
        for _ in range(8):
            assert server.post("/events/page", event("experiment.execution.failed")).status == 200
        wait_until(lambda: server.log.count("is dead after attempt 1") == 8)
        for _ in range(2):
            assert server.post("/events/page", event("experiment.execution.failed", reason="later")).status == 200
        wait_until(lambda: server.log.count("attempt 1 failed, retry in") == 2)
    monkeypatch.delenv("EXTENSION_DATABASE_URL", raising=False)
    ran = set()
    for number, arguments in enumerate(documented_commands()):
        if arguments[0] in ("db", "deliveries") and "postgresql" not in " ".join(arguments):
            monkeypatch.chdir(
                shutil.copytree(seed, tmp_path / str(number), symlinks=True, ignore=shutil.ignore_patterns("*-bell"))
            )
            result = CliRunner().invoke(commands, arguments)
            assert result.exit_code == 0, f"{arguments}: {result.output}"
            ran.add(" ".join(arguments[:2]))
    assert ran >= {f"{group} {name}" for group in ("db", "deliveries") for name in commands.commands[group].commands}


def test_the_metrics_that_are_asked_for_exist(tmp_path, served, event):
    (tmp_path / "oncall.py").write_text(EXAMPLE)
    asked = set(re.findall(r"extension_[a-z]+_[a-z_]+", (ROOT / "docs/operations.md").read_text()))
    assert asked
    with served(str(tmp_path / "oncall")) as server:
        assert server.post("/events/page", b"not JSON").status == 400
        shown = server.request("GET", "/metrics").body.decode()
    assert [name for name in sorted(asked) if not re.search(rf"^{name}[ {{]", shown, re.MULTILINE)] == []


def test_the_make_targets_it_names_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make ([a-z]+)", README, re.MULTILINE):
        assert f"\n{target}:" in makefile


@pytest.mark.usefixtures("in_folder_of_pages")
def test_the_example_of_a_protocol_works(tmp_path):
    url = f"sqlite:///{tmp_path}/doorbell.db"
    with serve_app(str(tmp_path / "doorbell"), tmp_path / "log", EXTENSION_DATABASE_URL=url) as server:
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        assert server.request("POST", "/doorbell/rings", "door=front", form).json == {"heard": True}
        assert server.request("POST", "/doorbell/rings", "", form).body == b"Ring once, with the name of a door.\n"
        wait_until(lambda: "somebody is at home/front" in server.log)
        done = extension_kit("doorbell.py", "ring", "back", EXTENSION_DATABASE_URL=url)
        assert (done.returncode, done.stderr) == (0, "")
        wait_until(lambda: "somebody is at home/back" in server.log)


def test_the_example_of_the_toolkit_works(tmp_path):
    (tmp_path / "letterbox.py").write_text(TOOLKIT_EXAMPLE)
    with serve_app(str(tmp_path / "letterbox"), tmp_path / "log") as server:
        postman = {"Authorization": f"Basic {b64encode(b'postman:secret').decode()}"}
        letter = {"letterId": "1", "sentBy": "anna"}
        assert server.post("/letterbox/letters", letter, postman).json == {"taken": True}
        assert server.post("/letterbox/letters", letter).status == 401
        refused = server.post("/letterbox/letters", {"sentBy": 1}, postman)
        assert (refused.status, refused.json["problems"].keys()) == (400, {"letterId", "sentBy"})
        assert server.post("/letterbox/letters", b"{", postman).status == 400
        document = server.request("GET", "/letterbox/openapi.json").json
        assert document["components"]["schemas"]["Letter"]["required"] == ["letterId"]
        wait_until(lambda: "a letter from anna" in server.log)
        assert "Traceback" not in server.log


def test_the_parts_of_the_toolkit_are_there():
    table = PROTOCOLS.partition("| name | does |")[2].partition("\n\n")[0]
    described = {
        name for row in table.splitlines() for name in re.findall(r"`([A-Za-z_]+)[`(]", row.partition(" | ")[0])
    }
    assert len(described) > 10
    assert [name for name in described if not hasattr(protocol, name)] == []


def test_the_table_of_contents_of_the_code_is_fresh():
    written = runpy.run_path(str(ROOT / "tools" / "write_architecture.py"))
    assert written["PAGE"].read_text() == written["page"](), "run: make architecture"
