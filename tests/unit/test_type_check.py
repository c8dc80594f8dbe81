import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from extension_kit.events.views import View

ROOT = Path(__file__).parents[2]
FILES = ROOT / "tests" / "type_check"


@pytest.mark.skipif(find_spec("mypy") is None, reason="mypy is not installed: `make lint` checks the same")
def test_what_users_write_type_checks(tmp_path):
    examples = [tmp_path / "oncall.py", tmp_path / "oncall_settings.py"]
    for page, example in zip(("README.md", "docs/extensions.md"), examples, strict=True):
        text = (ROOT / page).read_text(encoding="utf-8")
        example.write_text(re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1))
    # With the cache that `make lint` has, too: most of the time goes into libraries.
    result = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", FILES, *examples],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def views(kind=View):
    """The kit's own; extensions that other tests have loaded have views, too."""
    children = [child for child in kind.__subclasses__() if child.__module__.startswith("extension_kit.")]
    return [kind, *(view for child in children for view in views(child))]


def test_every_attribute_is_among_it():
    checked = set(re.findall(r"\.(\w+)", (FILES / "attributes.py").read_text()))
    public = {name for view in views() for name in dir(view) if not name.startswith("_")}
    assert public - checked == set()
