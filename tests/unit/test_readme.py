"""The README and the other pages say what is so: their examples and commands run, their tables are complete."""

import re
import runpy
import shlex
import shutil
import subprocess
import sys
from base64 import b64encode
from pathlib import Path
from types import ModuleType

import click
import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

import extension_kit as extension_kit_package
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
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "reference").glob("*.md")),
    *sorted((ROOT / "extensions").glob("**/README.md")),
]
REFERENCE = ROOT / "docs" / "reference"
# The tree names groups, the page of the commands shows how each is used, and guides have tests of their own.
GUIDES = {"how-it-works.md", "troubleshooting.md", "tutorial.md", "upgrading.md"}
WITHOUT_COMMANDS = {"architecture.md", "commands.md"} | GUIDES
WRITING = (ROOT / "docs" / "extensions.md").read_text(encoding="utf-8")
EXAMPLE, TEST = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
RETRIES = re.findall(r"```python\n(.*?)```", WRITING.partition("\n## Test\n")[2], re.DOTALL)[0]
PROTOCOLS = (ROOT / "docs" / "protocols.md").read_text()
PROTOCOL_EXAMPLE, TOOLKIT_EXAMPLE = re.findall(r"```python\n(.*?)```", PROTOCOLS, re.DOTALL)


TABLES = runpy.run_path(str(ROOT / "tools" / "write_settings.py"))["TABLES"]


@pytest.mark.parametrize("name", TABLES)
def test_the_settings_table_is_fresh(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert with_settings_table(text, *TABLES[name]) == text, "run: make settings"


WRITTEN = runpy.run_path(str(ROOT / "tools" / "write_reference.py"))


@pytest.mark.parametrize("page", WRITTEN["PAGES"], ids=lambda page: page.name)
def test_a_page_of_the_reference_is_fresh(page):
    assert page.read_text(encoding="utf-8") == WRITTEN["PAGES"][page](), "run: make reference"


@pytest.mark.parametrize("name", sorted(commands.commands))
def test_every_command_is_described(name):
    assert f"\nextension-kit {name} " in (REFERENCE / "commands.md").read_text(encoding="utf-8")
    result = CliRunner().invoke(commands, [name, "--help"])
    assert result.exit_code == 0


def test_the_options_of_the_agent_are_all_described():
    page = (REFERENCE / "commands.md").read_text(encoding="utf-8")
    section = page.partition("\n## extension-kit agent\n")[2].partition("\n## ")[0]
    described = set(re.findall(r"^\| `(--[a-z-]+)", section, re.MULTILINE))
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
    shown = re.findall(r"```json\n(.*?)```", (ROOT / "docs/install.md").read_text(encoding="utf-8"), re.DOTALL)[-1]
    assert serialize(extension.registry)[0].decode() == shown


def test_the_example_of_settings_is_served_as_they_say(tmp_path):
    (tmp_path / "settings_example.py").write_text(re.search(r"```python\n(.*?)```", WRITING, re.DOTALL).group(1))
    settings = {"EXTENSION_ONCALL_URL": "http://desk", "EXTENSION_ONCALL_TEAMS": "first,second"}
    document = extension_kit("openapi", tmp_path / "settings_example.py", **settings).stdout
    assert re.findall(r"/events/oncall/\w+(?=:$)", document, re.MULTILINE) == [
        "/events/oncall/first",
        "/events/oncall/second",
    ]


@pytest.mark.parametrize(
    "view",
    [
        Event,
        Tenant,
        Team,
        Environment,
        UserPrincipal,
        AccessTokenPrincipal,
        BatchPrincipal,
        ExperimentExecution,
        ExperimentStepExecution,
        ExperimentStepTargetExecution,
        protocol.PublishedEvent,
    ],
)
def test_every_attribute_of_an_event_is_described(view):
    sections = (REFERENCE / "event.md").read_text(encoding="utf-8").split("\n## ")
    rows = {part.partition("\n")[0]: set(re.findall(r"^\| `(\w+)` ", part, re.MULTILINE)) for part in sections}
    described = {name for base in view.__mro__ for name in rows.get(base.__name__, ())}
    assert described == {name for name in dir(view) if not name.startswith("_")} - {"from_body", "of"}


def test_every_public_name_is_in_the_reference():
    """Classes and functions of ``protocol`` come from its ``__all__``; constants have a row in a table."""
    page = (REFERENCE / "api.md").read_text(encoding="utf-8")
    assert [name for name in extension_kit_package.__all__ if f":: extension_kit.{name}\n" not in page] == []
    found = {name: getattr(protocol, name) for name in protocol.__all__}
    constants = [name for name, value in found.items() if not (isinstance(value, ModuleType) or callable(value))]
    assert len(constants) > 10
    assert [name for name in constants if f"\n| `{name}` |" not in page] == []


@pytest.mark.parametrize(("title", "shown"), [("An extension", EXAMPLE), ("Its test", TEST)])
def test_the_first_page_has_the_examples_of_the_readme(title, shown):
    page = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    assert f"```python\n{shown}```" in page.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_a_function_is_at_the_path_that_is_said():
    extension = Extension("x")

    @extension.listen_to("*")
    def post_failure() -> None: ...

    (listener,) = extension.listeners
    assert f"`post_failure` becomes `{listener.path}`" in WRITING


def documented_commands() -> list[list[str]]:
    """The arguments of every ``extension-kit ...`` in code on the pages."""
    texts = (page.read_text() for page in PAGES if page.name not in WITHOUT_COMMANDS)
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


def test_every_metric_is_described(tmp_path, served, event):
    """Their names, types and labels are those that a server shows."""
    (tmp_path / "oncall.py").write_text(EXAMPLE)
    page = (REFERENCE / "metrics.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]*)\|", page, re.MULTILINE)
    described = {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    with served(str(tmp_path / "oncall")) as server:
        assert server.post("/events/page", b"not JSON").status == 400
        wait_until(lambda: "extension_ready{" in server.request("GET", "/metrics").body.decode())
        text = server.request("GET", "/metrics").body.decode()
    shown = {}
    for family in text_string_to_metric_families(text):
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        name = f"{family.name}_total" if family.type == "counter" else family.name
        shown[name] = (family.type, labels)
    assert {name: facts for name, facts in shown.items() if name.startswith("extension_")} == described


def test_every_status_of_an_answer_is_described():
    sources = "\n".join(
        path.read_text(encoding="utf-8")
        for folder in ("events", "server", "web")
        for path in (ROOT / "extension_kit" / folder).glob("*.py")
    )
    given = set(re.findall(r"\b(?:problem|_refuse|_?Answer)\(\s*(\d{3})\b", sources))
    assert len(given) > 8
    page = (REFERENCE / "answers.md").read_text(encoding="utf-8")
    assert given - set(re.findall(r"\b\d{3}\b", page)) == set()


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
