"""Commands of extensions: ``extension-kit FILE_OR_MODULE COMMAND`` with the kit, a database and no server."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.commands import extension_kit
from tests.support.databases import postgresql_database, postgresql_schema, postgresql_server
from tests.support.paths import BIN

BELL = '''
from dataclasses import dataclass

import click
from flask import Blueprint

from extension_kit import Extension
from extension_kit.protocol import TEXT, EventProtocol, PublishedEvent, Routes, StoreError, setting

print("imported")


@dataclass(frozen=True)
class Settings:
    house: str = setting("EXTENSION_BELL_HOUSE", "home", TEXT, "House.")


def routes(kit, settings):
    return Routes(Blueprint("bell", __name__), ("/bell",), answer_error=None)


@click.command(epilog="Example: ring front")
@click.argument("door")
@click.option("--times", type=click.IntRange(1), default=1)
def ring(kit, settings, door, times):
    """Ring at a door."""
    with kit.transaction() as transaction:
        for number in range(times):
            transaction.publish(
                PublishedEvent.of(
                    source="bell", id=f"{door}-{number}", name="bell.rung", subject=settings.house, data={"door": door}
                )
            )
    click.echo(f"rang at {settings.house}, {door}, {times}")


@click.command()
def names(kit, settings):
    """Print names of events."""
    click.echo(" ".join(name for name in kit.event_names if name.endswith("*")))


@click.command("fail")
@click.argument("way")
def fail(kit, settings, way):
    """Fail."""
    with kit.transaction() as transaction:
        transaction.publish(PublishedEvent.of(source="bell", id="lost", name="bell.rung", subject="x", data={}))
        raise {"store": StoreError("no room"), "click": click.ClickException("no door")}[way]


extension = Extension("extension-bell")
extension.add_protocol(EventProtocol("bell", Settings, routes, names=("bell.*",), commands=(ring, names, fail)))


@extension.listen_to("bell.rung")
def open_door(event):
    raise AssertionError("only workers run it")
'''
KNOCK = """
from dataclasses import dataclass

from extension_kit import Extension
from extension_kit.protocol import EventProtocol


@dataclass(frozen=True)
class Settings:
    pass


extension = Extension("extension-knock")
extension.add_protocol(
    EventProtocol("knock", Settings, routes=lambda kit, settings: None, names=("knock.*",))
)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgresql_server() as server, postgresql_database(server) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database with the kit's tables."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/extension.db"
        assert extension_kit("db", "upgrade", EXTENSION_DATABASE_URL=url).returncode == 0
        yield url
        return
    with postgresql_schema(request.getfixturevalue("server")) as url:
        assert extension_kit("db", "upgrade", EXTENSION_DATABASE_URL=url).returncode == 0
        yield url


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of ``bell.py`` and ``knock.py``."""
    (tmp_path / "bell.py").write_text(BELL)
    (tmp_path / "knock.py").write_text(KNOCK)
    return tmp_path


def said(folder: Path, *arguments: object, code: int = 0, **environment: object) -> str:
    done = extension_kit(*arguments, cwd=folder, **environment)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stdout + done.stderr


def test_a_command_publishes_without_a_server(folder: Path, url: str) -> None:
    variables = {"EXTENSION_DATABASE_URL": url, "EXTENSION_BELL_HOUSE": "castle"}
    assert "rang at castle, front, 2\n" in said(folder, "bell.py", "ring", "front", "--times", "2", **variables)
    waiting = said(folder, "deliveries", "list", "--status", "waiting", **variables)
    assert waiting.count("bell.rung") == 2
    assert "rang at castle, front, 1\n" in said(folder, "bell", "ring", "front", **variables)
    assert said(folder, "deliveries", "list", **variables).count("bell.rung") == 2


def test_a_failed_command_changes_nothing(folder: Path, url: str) -> None:
    for way, message in (("store", "Error: no room\n"), ("click", "Error: no door\n")):
        assert message in said(folder, "bell.py", "fail", way, code=1, EXTENSION_DATABASE_URL=url)
    assert "There are no deliveries" in said(folder, "deliveries", "list", EXTENSION_DATABASE_URL=url)


def test_it_works_as_a_process(folder: Path, url: str) -> None:
    command = [str(BIN / "extension-kit"), "./bell.py", "ring", "front"]
    environment = {"EXTENSION_DATABASE_URL": url}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "imported\nrang at home, front, 1\n", "")


def test_other_extensions_may_be_there(folder: Path, url: str) -> None:
    assert said(folder, "bell.py", "names", EXTENSION_DATABASE_URL=url).splitlines()[-1] == "bell.*"
    both = said(folder, "bell.py", "--with", "knock.py", "names", EXTENSION_DATABASE_URL=url)
    assert both.splitlines()[-1] == "bell.* knock.*"


def test_help_needs_no_database_and_shows_the_commands(folder: Path) -> None:
    listed = said(folder, "bell.py", "--help", EXTENSION_DATABASE_URL="sqlite:////nowhere/extension.db")
    assert "Commands of bell.py." in listed
    for line in ("ring   Ring at a door.", "names  Print names of events.", "--with FILE_OR_MODULE"):
        assert line in listed
    assert "Ring at a door.\n" in said(folder, "bell.py", "ring", "--help")


def test_the_help_of_the_kit_names_extensions_and_imports_none(folder: Path) -> None:
    (folder / "extensions" / "broken").mkdir(parents=True)
    (folder / "extensions" / "broken" / "__init__.py").write_text("raise AssertionError('imported')")
    (folder / "extensions" / "notes").mkdir()
    (folder / "extensions" / "bell").mkdir()
    (folder / "extensions" / "bell" / "__init__.py").write_text(BELL.replace('"bell"', '"bell2"'))
    helped = " ".join(said(folder, "--help").split())
    assert "The same of an extension in extensions/: bell, broken." in helped
    assert "imported" not in helped
    assert "AssertionError: imported" in said(folder, "broken", "ring", code=2)
    assert "Commands of extensions/bell." in said(folder, "bell", "--help")
    assert "extensions/" not in said(folder.parent, "--help")


def test_commands_of_the_kit_come_first(folder: Path) -> None:
    (folder / "extensions" / "db").mkdir(parents=True)
    (folder / "extensions" / "db" / "__init__.py").write_text("raise AssertionError('imported')")
    assert "Create, upgrade, inspect and copy the database" in said(folder, "db", "--help")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["ringg"], 2, "Error: No such command 'ringg'."),
        (["no-such-word", "ring"], 2, "Error: No such command 'no-such-word'."),
        (["./none.py", "ring"], 2, "extension-kit: ./none.py: there is no such file or folder"),
        (["bell.py", "knock"], 2, "Error: No such command 'knock'."),
        (["bell.py", "ring"], 2, "Error: Missing argument 'DOOR'."),
        (["bell.py", "ring", "x", "--times", "0"], 2, "Error: Invalid value for '--times'"),
        (["bell.py"], 2, "Commands of bell.py."),
        (["knock.py", "ring"], 2, "extension-kit: knock.py has no commands of its own: `extension-kit serve knock.py`"),
        (["bell.py", "--with", "none.py", "ring", "x"], 2, "extension-kit: none.py: there is no such file"),
        (["bell.py", "ring", "front"], 1, "Error: There is no database "),
    ],
)
def test_what_cannot_be_run_is_told(folder: Path, arguments: list[str], code: int, message: str) -> None:
    variables = {"EXTENSION_DATABASE_URL": f"sqlite:///{folder}/none.db"}
    assert message in said(folder, *arguments, code=code, **variables)
    assert not (folder / "none.db").exists()


def test_a_bad_setting_is_told(folder: Path) -> None:
    told = said(folder, "bell.py", "ring", "x", code=2, EXTENSION_WORKER_THREADS="many")
    assert told.splitlines()[-1].startswith("extension-kit: EXTENSION_WORKER_THREADS")


@pytest.mark.parametrize(
    ("commands", "message"),
    [
        ("(ring, click.Command('ring', callback=print))", "two commands are called ring: rename one of them"),
        ("(click.Group('doors'),)", "<Group doors> is no command: use @click.command() on a function"),
        ("(click.Command('empty'),)", "<Command empty> is no command: use @click.command() on a function"),
    ],
)
def test_wrong_declarations_are_refused(folder: Path, commands: str, message: str) -> None:
    (folder / "wrong.py").write_text(BELL.replace("(ring, names, fail)", commands))
    assert f"extension-kit: wrong.py: {message}" in said(folder, "wrong.py", "ring", code=2)
