"""A handler file that needs an extra which is not installed says so."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from extension_kit.errors import HandlerFileError
from extension_kit.loading import _EXTRAS, load_extensions
from tests.support.servers import free_port

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
    ("extension", "missing"),
    [("tapis", "jwt"), ("tapis", "cryptography"), ("croneye", "jwt"), ("pulp", "cryptography")],
    ids=str,
)
def test_an_extension_names_the_extra_that_it_needs(extension, missing):
    line = start(ROOT / "extensions" / extension, missing)
    assert f"{missing} is not installed: pip install 'extension-kit[{extension}]'" in line


@pytest.mark.parametrize("module", _EXTRAS)
def test_a_file_names_it_as_well(tmp_path, module):
    (tmp_path / "oncall.py").write_text(f"import {module}.inner\n")
    line = start(tmp_path / "oncall.py", module)
    assert f"{module} is not installed: pip install 'extension-kit[{_EXTRAS[module]}]' (oncall.py, line 1)" in line


@pytest.mark.parametrize("module", ["jwt", "nothing_of_ours"])
def test_what_no_extra_is_for_is_said_as_it_is(tmp_path, module):
    (tmp_path / "oncall.py").write_text(f"import {module}\n")
    line = start(tmp_path / "oncall.py", module)
    assert "ModuleNotFoundError" in line
    assert module in line
    assert "pip install" not in line


def test_an_extra_is_the_kits_or_an_extensions():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = set(project["optional-dependencies"]) - {"image", "all"}
    folders = {path.parent.name for path in (ROOT / "extensions").glob("*/__init__.py")}
    assert extras - folders == set(_EXTRAS.values())


def test_what_was_meant_is_named(tmp_path, monkeypatch):
    for name in (
        "oncall.py",
        "pages/pages.py",
        "pages/test_pages.py",
        "both/one.py",
        "both/two.py",
        "extensions/pulp/__init__.py",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    ready_made = ": the folder extensions/eventhos is in a checkout of extension-kit, and in its image; run this there"
    needs_init = "a folder needs an __init__.py that defines or imports the extension"
    for target, said in {
        "./oncall": "there is no such file or folder; did you mean oncall.py?",
        "pages": f"{needs_init}; did you mean pages/pages.py?",
        "both": needs_init,
        "./elsewhere": "there is no such file or folder",
        "elsewhere_": "there is no such file, folder or module",
        "pulp": "there is no such file, folder or module; did you mean extensions/pulp?",
        "eventhos": f"there is no such file, folder or module{ready_made}",
        "extensions/eventhos": f"there is no such file or folder{ready_made}",
        "./eventhos": "there is no such file or folder",
        "elsewhere_.oncall": "ModuleNotFoundError: No module named 'elsewhere_'",
    }.items():
        with pytest.raises(HandlerFileError) as refused:
            load_extensions([target])
        assert str(refused.value) == f"{target}: {said}"
