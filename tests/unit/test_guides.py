"""The guides in docs/ are true: their examples run, their commands and settings exist, their links lead somewhere."""

import re
import shlex
import signal
import sqlite3
import subprocess
import sys
from contextlib import ExitStack, closing, suppress
from dataclasses import fields
from functools import partial
from itertools import chain
from pathlib import Path

import click
import pytest

from extension_kit.cli import commands
from extension_kit.extension import Extension
from extension_kit.loading import load_extensions
from extension_kit.settings.kit import Settings
from tests.support import guides
from tests.support.commands import extension_kit
from tests.support.databases import postgresql_server
from tests.support.durable import all_deliveries, statuses
from tests.support.guides import GUIDES, HOW_TOS, ROOT, TUTORIAL, Block, blocks, share_from_code
from tests.support.paths import KIT
from tests.support.servers import Served, free_port, run_server
from tests.support.used import postgresql_database
from tests.support.waiting import wait_until

pytest_plugins = ["pytester"]

HOW_TO = ROOT / "docs/how-to"
TROUBLESHOOTING, UPGRADING = ROOT / "docs/troubleshooting.md", ROOT / "docs/upgrading.md"
MOVING = HOW_TO / "move-to-postgresql.md"
patiently = partial(wait_until, timeout=100)
KIT_SETTINGS = [field.metadata["setting"].variable for field in fields(Settings)]
HERE = "sqlite:///./extension.db"
"""The default of the database, which the servers of tests do not have."""


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT / "docs"))


def texts(page: Path) -> list[str]:
    return [block.text.strip() for block in blocks(page) if block.language == "text"]


class TestPages:
    @pytest.mark.parametrize("page", GUIDES, ids=name_of)
    def test_every_link_leads_to_a_page_and_a_heading(self, page):
        for link in guides.links(page):
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            assert target.exists(), link
            assert not anchor or anchor in guides.anchors(target), link

    @pytest.mark.parametrize("page", GUIDES, ids=name_of)
    def test_every_setting_exists(self, page):
        named = set(re.findall(r"\b(?:EXTENSION|STEADYBIT_(?:EXTENSION|LOG))_[A-Z_]*[A-Z]\b", page.read_text()))
        known = (ROOT / "README.md").read_text() + "".join(
            path.read_text() for path in ROOT.glob("extensions/*/README.md")
        )
        declared = chain.from_iterable(re.findall(r'setting\("(\w+)"', block.text) for block in blocks(page))
        there = {*re.findall(r"`([A-Z_]+)`", known), *KIT_SETTINGS, *declared, *MISSPELT}
        assert {name.removesuffix("_FILE") for name in named} - there == set()

    @pytest.mark.parametrize("page", GUIDES, ids=name_of)
    def test_every_make_target_exists(self, page):
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(re.findall(r"`make ([a-z]+)", page.read_text())) <= set(targets)

    def test_pictures_have_words_for_those_who_do_not_see_them(self):
        for picture in (ROOT / "docs/images").glob("*.svg"):
            assert re.search(r"<title id=\"title\">.+</title>\s*<desc id=\"desc\">.+</desc>", picture.read_text()), (
                picture
            )


MISSPELT = {"EXTENSION_FUNCTION_TIMEOUTS"}


def documented_commands() -> list[tuple[str, ...]]:
    """The arguments of every ``extension-kit ...`` in code on the pages, behind assignments of variables, too."""
    found = set()
    for page in GUIDES:
        shell = "".join(block.text for block in blocks(page) if block.language == "sh").replace("\\\n", " ")
        prose = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL))
        for line in [*shell.splitlines(), *prose]:
            words = shlex.split(line, comments=True) if "extension-kit " in line else []
            while words and re.match(r"[A-Z_]+=", words[0]):
                del words[0]
            if words[:1] == ["extension-kit"]:
                found.add(tuple(words[1:]))
    return sorted(found)


@pytest.mark.parametrize("arguments", documented_commands(), ids=" ".join)
def test_every_command_exists_with_its_options(arguments, tmp_path, monkeypatch):
    (tmp_path / "events.jsonl").touch()
    (tmp_path / "ca.pem").touch()
    monkeypatch.chdir(tmp_path)
    command: click.Command | None = commands
    words = [*arguments]
    while isinstance(command, click.Group) and words:
        context = click.Context(command)
        _, (name, *words), _ = command.make_parser(context).parse_args(words)
        command = command.get_command(context, name)
        assert command is not None, name
    if words:
        with command.make_context(None, words):  # raises for an unknown option and for a missing argument
            pass


@pytest.fixture
def own_tests(pytester, monkeypatch):
    """Run the tests in a folder as its owner does; the number of those that passed, where none has failed."""
    for name in KIT_SETTINGS:
        monkeypatch.delenv(name, raising=False)

    def run(folder: Path) -> int:
        monkeypatch.chdir(folder)
        result = pytester.runpytest_inprocess("-q", "-p", "no:cacheprovider", "-Werror", f"--rootdir={folder}", folder)
        outcomes = result.parseoutcomes()
        assert outcomes.keys() == {"passed"}, result.stdout.str()
        return outcomes["passed"]

    return run


@pytest.mark.parametrize("page", [page for page in HOW_TOS if "def test_" in page.read_text()], ids=name_of)
def test_the_tests_on_a_page_pass(page, tmp_path, own_tests):
    guides.write_files(page, tmp_path)
    assert own_tests(tmp_path) == len(re.findall(r"^def test_", page.read_text(), re.MULTILINE))


@pytest.mark.parametrize("page", HOW_TOS, ids=name_of)
def test_every_python_example_is_a_file_that_loads(page, tmp_path):
    files = guides.files(page)
    assert all(block.file for block in blocks(page) if block.language == "python")
    guides.write_files(page, tmp_path)
    for module in {name.partition("/")[0] for name in files if name.endswith(".py") and not name.startswith("test_")}:
        (extension,) = load_extensions([str(tmp_path / module)])
        assert isinstance(extension, Extension)


class TestMessages:
    @pytest.mark.parametrize(
        "message", [*texts(TROUBLESHOOTING), *texts(UPGRADING), *texts(HOW_TO / "move-to-postgresql.md")]
    )
    def test_what_is_quoted_is_in_the_code(self, message):
        assert share_from_code(message) > 0.4, "the code says this in other words, or not at all"

    def test_there_are_enough(self):
        assert len(texts(TROUBLESHOOTING)) >= 25

    @pytest.mark.parametrize(
        ("arguments", "environment", "files"),
        [
            (["openapi", "missing.py"], {}, {}),
            (["openapi", "notify"], {}, {}),
            (["openapi", "oncall.py"], {}, {"oncall.py": "x = 1\n"}),
            (["db", "status"], {"STEADYBIT_EXTENSION_PORT": "eight"}, {}),
            (["event-log"], {"EXTENSION_EVENT_LOG_PORT": "0"}, {}),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_a_command_says_what_is_quoted(self, arguments, environment, files, tmp_path, monkeypatch):
        monkeypatch.delitem(sys.modules, "notify", raising=False)  # other tests load the ready-made extension
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        done = extension_kit(*arguments, cwd=tmp_path, **environment)
        assert done.returncode == 2
        assert done.stderr.strip() in texts(TROUBLESHOOTING)

    def test_a_missing_database_is_told_of_as_quoted(self, tmp_path):
        done = extension_kit("deliveries", "list", cwd=tmp_path)
        assert done.stderr.strip().replace(str(tmp_path), "/srv") in texts(TROUBLESHOOTING)

    def test_a_later_database_is_refused_as_quoted(self, tmp_path):
        url = f"sqlite:///{tmp_path}/extension.db"
        assert extension_kit("db", "upgrade", EXTENSION_DATABASE_URL=url).returncode == 0
        with closing(sqlite3.connect(tmp_path / "extension.db")) as connection:
            connection.execute("UPDATE extension_kit_version SET version_num = '0009'")
            connection.commit()
        said = extension_kit("deliveries", "list", EXTENSION_DATABASE_URL=url).stderr.strip()
        quoted = said.replace("Error:", "extension-kit:").replace(str(tmp_path), "/data")
        assert quoted in texts(TROUBLESHOOTING)

    def test_an_agent_without_a_server_says_what_is_quoted(self):
        port = free_port()
        done = extension_kit("agent", f"http://localhost:{port}")
        assert done.returncode == 1
        problem = done.stdout.strip().splitlines()[-1].removeprefix("problem: ")
        assert problem.replace(str(port), "8080") in texts(TROUBLESHOOTING)

    @pytest.mark.parametrize(
        ("path", "body", "settings"),
        [
            ("/events/page", b"", {}),
            ("/events/other", b"{}", {}),
            ("/events/page", b"{}", {"EXTENSION_MAX_BODY_BYTES": "1"}),
        ],
    )
    def test_an_answer_is_as_quoted(self, path, body, settings, monkeypatch):
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        extension = Extension("extension-oncall")
        extension.listen_to("*", immediate=True, path="/events/page")(print)
        answer = extension.create_app().test_client().post(path, data=body, content_type="application/json")
        assert re.sub("At most 1 ", "At most 8388608 ", answer.text.strip()) in texts(TROUBLESHOOTING)


def nothing_waits(url: str) -> bool:
    found = statuses(url)
    return bool(found) and found.keys().isdisjoint({"waiting", "unfiled"})


@pytest.fixture
def serve(tmp_path):
    """Serve what a page says, in its folder, with a database of its own there: ``extension.db``."""
    with ExitStack() as stack:

        def start(*arguments: str, cwd: Path, **environment: str) -> Served:
            number = len(list(tmp_path.glob("log-*")))
            running = run_server(
                [KIT, "serve", *arguments],
                tmp_path / f"log-{number}",
                cwd=cwd,
                EXTENSION_DATABASE_URL=HERE,
                **environment,
            )
            server = stack.enter_context(running)
            patiently(lambda: server.health("readiness") == 200 or server.process.poll() is not None)
            assert server.process.poll() is None, server.log
            return server

        yield start


@pytest.mark.timeout(300)
class TestServed:
    def test_the_summary_of_yesterday_comes_at_once(self, tmp_path, serve):
        guides.write_files(HOW_TO / "daily-summary.md", tmp_path)
        server = serve("summary.py", cwd=tmp_path, EXTENSION_SUMMARY_HOUR="0")
        patiently(lambda: re.search(r"^Runs of [0-9-]+: none$", server.log, re.MULTILINE))

    def test_a_dead_letter_is_replayed_by_the_function_that_was_saved(self, tmp_path, serve):
        page = HOW_TO / "develop.md"
        first, last = guides.files(page)["oncall.py"]
        (tmp_path / "oncall.py").write_text(first)
        url = f"sqlite:///{tmp_path}/extension.db"
        server = serve("--reload", "oncall.py", cwd=tmp_path)
        commands_shown = [
            shlex.split(line)[1:]
            for block in blocks(page)
            for line in block.text.splitlines()
            if line.startswith(("extension-kit agent", "extension-kit deliveries"))
        ]
        played, listed, shown, *replayed, _ = commands_shown
        played[1] = server.url
        assert extension_kit(*played).returncode == 0
        patiently(lambda: nothing_waits(url))
        assert "not written yet" in extension_kit(*listed, cwd=tmp_path).stdout
        assert "experimentExecution" in extension_kit(*shown, cwd=tmp_path).stdout
        (tmp_path / "oncall.py").write_text(last)
        patiently(lambda: server.log.count("Delivery worker started") == 2)
        for arguments in replayed:
            assert extension_kit(*arguments, cwd=tmp_path).returncode == 0
        patiently(lambda: {each.status for each in all_deliveries(url)} == {"delivered"})
        after = extension_kit(*shown, cwd=tmp_path).stdout
        assert re.search(r"^status: +delivered$", after, re.MULTILINE)

    def test_what_waits_moves_to_postgresql(self, tmp_path, serve):
        (tmp_path / "oncall.py").write_text(guides.files(HOW_TO / "develop.md")["oncall.py"][0])
        server = serve("oncall.py", cwd=tmp_path)
        assert extension_kit("agent", server.url, "--generate", 3, "--seed", 1, "--fast").returncode == 0
        patiently(lambda: nothing_waits(f"sqlite:///{tmp_path}/extension.db"))
        server.stop()
        with postgresql_server() as database, postgresql_database(database) as url:
            copied = extension_kit("db", "copy", "sqlite:///extension.db", url, cwd=tmp_path)
            assert copied.returncode == 0, copied.stderr
            (quoted,) = texts(MOVING)
            *_, last = quoted.splitlines()
            assert last in copied.stdout
            status = extension_kit("db", "status", EXTENSION_DATABASE_URL=url).stdout
            assert re.search(r"^events +1$", status, re.MULTILINE)
            assert re.search(r"^dead +1$", status, re.MULTILINE)


def test_a_copy_of_a_ready_made_extension_is_written_as_said(tmp_path):
    shown, printed = blocks(HOW_TO / "ready-made.md")[3:5]
    arguments = shlex.split(shown.text)[1:]
    done = extension_kit(*arguments, "--directory", tmp_path / "oncall", cwd=ROOT)
    assert done.stdout.splitlines()[0].replace(f"{tmp_path}/", "") == printed.text.strip()


CLUSTER = ("docker", "helm", "kubectl")
"""Commands that need what this machine may not have. The chart's tests render those of helm."""


class Newcomer:
    """A reader of the tutorial who does what it says, in a folder that is empty at first."""

    def __init__(self, folder: Path, serve, own_tests) -> None:
        self.folder = folder
        self.said = ""
        self._serve = serve
        self._own_tests = own_tests
        self._server: Served | None = None

    def follow(self, block: Block) -> None:
        match block.language:
            case "sh" if "pip install" not in block.text:
                self.said = ""
                for line in block.text.replace("\\\n", " ").splitlines():
                    self._run(line)
            case "python":
                self._save(block)
            case "text" if "kubectl" not in block.text and not block.text.startswith("POST "):
                self._compare(block.text)

    def _run(self, line: str) -> None:
        words = shlex.split(line)
        environment = {}
        while "=" in words[0]:
            name, _, environment[name] = words.pop(0).partition("=")
        match words:
            case ["cd", folder]:
                self.folder /= folder
            case ["extension-kit", "serve", *arguments]:
                if self._server is not None:
                    self._server.stop(signal.SIGINT)
                if "EXTENSION_EVENT_LOG_PORT" in environment:
                    environment["EXTENSION_EVENT_LOG_PORT"] = str(free_port())
                self._server = self._serve(*arguments, cwd=self.folder, **environment)
            case ["extension-kit", "agent", _, *arguments]:
                self.said += extension_kit("agent", self._server.url, *arguments, cwd=self.folder).stdout
            case ["extension-kit", *arguments]:
                self._wait()
                done = extension_kit(*arguments, cwd=self.folder)
                assert done.returncode == 0, done.stderr
                self.said += done.stdout
            case ["python", "-m", "pytest", "-q"]:
                self.said += f"{self._own_tests(self.folder)} passed in 0.1s"
            case [name, *_] if name not in CLUSTER:
                self._wait()
                self.said += subprocess.run(
                    ["sh", "-c", line], cwd=self.folder, check=True, capture_output=True, text=True, timeout=30
                ).stdout

    def _wait(self) -> None:
        if self._server is not None:
            patiently(lambda: nothing_waits(f"sqlite:///{self.folder}/extension.db"))

    def _save(self, block: Block) -> None:
        file = self.folder / block.file
        text = file.read_text()
        if block.before.endswith("The extension is `oncall.py`:"):
            assert text == block.text
        elif "Replace " in block.before:
            text = block.text
        elif "replace the line" in block.before:
            line, _, more = block.text.partition("\n")
            text = re.sub(r"^REPORTS = .*$", line, text, flags=re.MULTILINE) + more
            assert text.count(line) == 1
        else:
            text += f"\n\n{block.text}"
        file.write_text(text)

    def _compare(self, shown: str) -> None:
        """Wait until all lines that are shown were said by commands or are in the server's log."""
        missing = {*filter(None, map(steady, shown.splitlines()))} - {*map(steady, self.said.splitlines())}
        with suppress(AssertionError):
            patiently(lambda: self._server is None or missing <= {*map(steady, self._server.log.splitlines())})
        assert missing - {*map(steady, self._server.log.splitlines() if self._server else ())} == set()


def steady(line: str) -> str:
    """A line without times, durations, ports and the widths of columns, which differ each time."""
    line = re.sub(r"^\d{4}-\d\d-\d\dT\S+Z ", "", line).strip(" ─")
    line = re.sub(r"on port \d+ \(.*\)", "on port", line)
    line = re.sub(r"(retry in|dead|delivered|passed in) [\d.]+ ?s( ago)?", r"\1", line)
    return re.sub(r"\s+", " ", re.sub(r"\b\d+\.\d+\b", "#", line))


@pytest.mark.timeout(300)
def test_the_tutorial_can_be_followed(tmp_path, serve, own_tests):
    (tmp_path / "begun").mkdir()
    newcomer = Newcomer(tmp_path / "begun", serve, own_tests)
    for block in blocks(TUTORIAL):
        newcomer.follow(block)
    assert any("\n- " in file.read_text() for file in (newcomer.folder / "reports").iterdir())
    assert extension_kit("openapi", "oncall.py", cwd=newcomer.folder).returncode == 0
