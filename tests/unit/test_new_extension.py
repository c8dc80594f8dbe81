"""A new extension is a folder: the tools write its document, its settings and its modules, and no list is edited."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]

EXTENSION = '''"""A letterbox: reports letters to listeners."""

from dataclasses import dataclass

from flask import Blueprint

from extension_kit import Extension
from extension_kit.protocol import TEXT, EventProtocol, Kit, Routes, setting

from .document import build_document


@dataclass(frozen=True)
class LetterboxSettings:
    house: str = setting("EXTENSION_LETTERBOX_HOUSE", "home", TEXT, "Where the letterbox is.")


def routes(kit: Kit, settings: LetterboxSettings) -> Routes:
    return Routes(Blueprint("letterbox", __name__), ("/letterbox",), lambda error: "")


extension = Extension("extension-letterbox")
extension.add_protocol(EventProtocol("letterbox", LetterboxSettings, routes, document=build_document))
'''

DOCUMENT = '''"""The OpenAPI document of the letterbox."""

from extension_kit.protocol import OpenApiBuilder, json_response


def build_document():
    """Make the OpenAPI document."""
    builder = OpenApiBuilder("Letterbox", "1", "Takes letters.")
    builder.add_operation("post", "/letterbox", {"responses": {"200": json_response("Taken", {"type": "object"})}})
    return builder.build()
'''

FLAG = '''"""A flag on the letterbox."""

from dataclasses import dataclass

from extension_kit import Extension
from extension_kit.protocol import NAMES, setting


@dataclass(frozen=True)
class FlagSettings:
    colours: tuple[str, ...] = setting("EXTENSION_FLAG_COLOURS", ("red", "blue"), NAMES, "Colours.")

    def __post_init__(self) -> None:
        raise NotImplementedError


extension = Extension("extension-flag", settings=FlagSettings)
'''

README = "# letterbox\n\n<!-- settings -->\n<!-- /settings -->\n\nThat is all.\n"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the checkout with one folder more, after the tools have run there."""
    copy = tmp_path_factory.mktemp("checkout")
    ignored = shutil.ignore_patterns("__pycache__", "*.db*")
    for name in ("extension_kit", "extensions", "tools", "openapi", "docs", "benchmarks"):
        shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    folder = copy / "extensions" / "letterbox"
    folder.mkdir()
    for name, content in (("__init__.py", EXTENSION), ("document.py", DOCUMENT), ("README.md", README)):
        (folder / name).write_text(content)
    flag = copy / "extensions" / "flag"
    flag.mkdir()
    (flag / "__init__.py").write_text(FLAG)
    (flag / "README.md").write_text(README)
    (copy / "benchmarks/letterbox.py").write_text('"""Letters a second."""\n')
    for tool in ("openapi", "settings", "architecture"):
        run(copy, f"tools/write_{tool}.py")
    return copy


def run(checkout, *arguments):
    """Run Python in a checkout, with the modules that are there, and return the output."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_its_document_is_written(checkout):
    written = (checkout / "openapi/letterbox.yaml").read_text()
    assert written.startswith("# Written by `make openapi`; change extensions/letterbox/document.py instead.\n")
    assert yaml.safe_load(written)["paths"].keys() == {"/letterbox"}


def test_its_settings_are_written(checkout):
    row = "| `EXTENSION_LETTERBOX_HOUSE` | `home` | Where the letterbox is. |"
    written = (checkout / "extensions/letterbox/README.md").read_text()
    assert written == README.replace("-->\n<!--", f"-->\n| variable | default | meaning |\n|---|---|---|\n{row}\n<!--")


def test_settings_of_an_extension_without_a_protocol_are_written(checkout):
    row = "| `EXTENSION_FLAG_COLOURS` | `red,blue` | Colours. Allowed: names separated by commas. |"
    assert f"|---|---|---|\n{row}\n<!-- /settings -->" in (checkout / "extensions/flag/README.md").read_text()


def test_its_modules_are_listed(checkout):
    written = (checkout / "docs/architecture.md").read_text()
    section = written.partition("## extensions/letterbox/\n")[2].partition("\n## ")[0]
    assert "A letterbox: reports letters to listeners\n" in section
    assert "| `document.py` | The OpenAPI document of the letterbox |" in section


def test_its_benchmark_is_found(checkout):
    script = "from benchmarks.__main__ import NAMES; print(NAMES[-5:])"
    assert run(checkout, "-c", script) == "('croneye', 'eventhos', 'letterbox', 'pulp', 'tapis')\n"


def test_the_others_stay_as_they_are(checkout):
    for name in (
        "openapi/croneye.yaml",
        "openapi/event-kit.yaml",
        "extensions/tapis/README.md",
        "docs/reference/settings.md",
    ):
        assert (checkout / name).read_text() == (ROOT / name).read_text()


def test_ready_made_extensions_are_listed_in_a_readme():
    listed = (ROOT / "extensions/README.md").read_text()
    folders = [path.parent.name for path in (ROOT / "extensions").glob("*/__init__.py")]
    assert [name for name in folders if f"| [{name}]({name}/README.md) |" not in listed] == []
