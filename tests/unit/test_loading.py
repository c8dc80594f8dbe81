"""A handler file that needs an extra which is not installed says so."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from extension_kit.loading import _EXTRAS
from tests.conftest import free_port

ROOT = Path(__file__).parents[2]
MISSING = """
import sys
for name in {missing!r}:
    sys.modules[name] = None
from extension_kit.cli import main
sys.argv = ["extension-kit", "serve", {target!r}]
main()
"""


def start(target, *missing):
    """Start a server without some modules; what it says."""
    code = MISSING.format(target=str(target), missing=missing)
    ports = {f"STEADYBIT_EXTENSION_{name}": str(free_port()) for name in ("PORT", "HEALTH_PORT")}
    ended = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **ports},
    )
    assert ended.returncode == 2, ended.stderr
    return ended.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("extension", "missing"), [("tapis", "jwt"), ("tapis", "cryptography"), ("croneye", "jwt")], ids=str
)
def test_an_extension_names_the_extra_that_it_needs(extension, missing):
    line = start(ROOT / "extensions" / extension, missing)
    assert f"{missing} is not installed: pip install 'extension-kit[{extension}]'" in line


@pytest.mark.parametrize("module", [module for module, extras in _EXTRAS.items() if len(extras) == 1])
def test_a_file_names_it_as_well(tmp_path, module):
    (tmp_path / "oncall.py").write_text(f"import {module}.inner\n")
    line = start(tmp_path / "oncall.py", module)
    assert f"{module} is not installed: pip install 'extension-kit[{_EXTRAS[module][0]}]' (oncall.py, line 1)" in line


@pytest.mark.parametrize("module", ["jwt", "nothing_of_ours"])
def test_what_no_extra_is_for_is_said_as_it_is(tmp_path, module):
    (tmp_path / "oncall.py").write_text(f"import {module}\n")
    line = start(tmp_path / "oncall.py", module)
    assert "ModuleNotFoundError" in line
    assert module in line
    assert "pip install" not in line


def test_every_extra_is_known():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = set(project["optional-dependencies"]) - {"all"}
    assert {extra for known in _EXTRAS.values() for extra in known} == extras
