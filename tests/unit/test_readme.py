"""The README says what is so: its examples run, its tables are complete."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from extension_kit.cli import commands
from extension_kit.settings import with_settings_table

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLE, TEST = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_settings_table_is_fresh():
    assert with_settings_table(README) == README, "run: make settings"


@pytest.mark.parametrize("name", sorted(commands.commands))
def test_every_command_is_described(name):
    assert f"extension-kit {name} " in README
    result = CliRunner().invoke(commands, [name, "--help"])
    assert result.exit_code == 0


def test_the_options_of_the_agent_exist():
    text = CliRunner().invoke(commands, ["agent", "--help"]).output
    section = README.partition("## Play an agent")[2].partition("\n## ")[0]
    options = set(re.findall(r"--[a-z]+", section)) - {"--register"}
    assert options
    assert [option for option in options if option not in text] == []


def test_the_first_example_and_its_test_work_as_they_stand(tmp_path):
    (tmp_path / "oncall.py").write_text(EXAMPLE)
    (tmp_path / "test_oncall.py").write_text(TEST)
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert "1 passed" in result.stdout, result.stdout + result.stderr


def test_the_registration_document_is_the_one_shown(tmp_path, monkeypatch):
    from extension_kit.loading import load_extensions

    (tmp_path / "readme_example.py").write_text(EXAMPLE)
    (extension,) = load_extensions([str(tmp_path / "readme_example.py")])
    shown = re.search(r"```json\n(.*?)```", README, re.DOTALL).group(1)
    assert extension.registry.serialized()[0].decode() == shown


def test_every_file_it_names_is_there():
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_make_targets_it_names_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make ([a-z]+)", README, re.MULTILINE):
        assert f"\n{target}:" in makefile
