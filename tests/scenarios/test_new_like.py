"""``extension-kit new NAME --like EXTENSION`` makes an extension somebody's own: under its name, and working."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.commands import extension_kit
from tests.support.paths import APPS, KIT

ROOT = Path(__file__).parents[2]
SIMPLE = [
    init.parent.name
    for init in sorted((ROOT / "extensions").glob("*/__init__.py"))
    if "add_protocol" not in init.read_text()
]

BELL = '''"""Rings a bell."""

from dataclasses import dataclass

from extension_kit import Event, Extension
from extension_kit.protocol import NAMES, setting

from .sounds import SOUND


@dataclass(frozen=True)
class NotifySettings:
    bells: tuple[str, ...] = setting("EXTENSION_NOTIFY_BELLS", ("front",), NAMES, "Bells.")


extension = Extension("extension-notify", settings=NotifySettings)


@extension.listen_to("killswitch.*", path="/events/notify/all")
def notify(event: Event) -> None:
    for bell in extension.settings.bells:
        print(f"{bell}: {SOUND}", flush=True)
'''

TEST = """import pytest

from extensions import notify
from extensions.notify.sounds import SOUND


@pytest.fixture
def extension():
    return notify.extension


@pytest.fixture(autouse=True)
def bells(monkeypatch):
    monkeypatch.setenv("EXTENSION_NOTIFY_BELLS", "front,back")


def test_it_rings(agent, capsys):
    assert agent.send("killswitch.engaged").ran == ["notify"]
    ringing = "rïng"; assert (notify.SOUND, ringing) == (SOUND, SOUND)
    assert capsys.readouterr().out == "front: rïng\\nback: rïng\\n"
"""

README = """# notify

Rings bells, as [others](../announce/README.md) do not.

Rings them so that [somebody](https://example.com/) hears, see [a sound](sounds.py), with
`extension-kit serve extensions/notify`. This sends events:

    extension-kit agent http://localhost:8080 --replay extensions/announce/events.jsonl

`make demo EXTENSION=notify` shows it.

<!-- settings -->
| variable | default | meaning |
|---|---|---|
| `EXTENSION_NOTIFY_BELLS` | `front` | Bells. |
<!-- /settings -->
"""


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout with one simple extension, and one with an event protocol, as if none was loaded."""
    ready_made = {path.name for path in (ROOT / "extensions").iterdir()}
    for name in [name for name in sys.modules if name.partition(".")[0] in ready_made]:
        monkeypatch.delitem(sys.modules, name)
    folder = tmp_path / "checkout/extensions/notify"
    folder.mkdir(parents=True)
    for name, text in {"__init__.py": BELL, "test_notify.py": TEST, "README.md": README}.items():
        (folder / name).write_text(text)
    (folder / "sounds.py").write_text('SOUND = "rïng"\n')
    (folder / "demo.sh").write_text("exit 1\n")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "extensions/croneye", folder.parent / "croneye", ignore=ignored)
    return tmp_path / "checkout"


@pytest.fixture
def oncall(checkout, tmp_path):
    done = extension_kit("new", "on-call", "--like", "notify", "--directory", tmp_path / "oncall", cwd=checkout)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\n  extension-kit serve on_call\n" in done.stdout
    return tmp_path / "oncall"


def passed_tests(directory):
    """The end of what pytest says in a directory, seen as its user sees it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "EXTENSION"))}
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1]


def test_the_copy_has_the_name_everywhere(oncall):
    files = {path.name for path in (oncall / "on_call").iterdir()}
    assert files - {"__pycache__"} == {"__init__.py", "sounds.py", "test_on_call.py"}
    code = (oncall / "on_call/__init__.py").read_text()
    new = {"NotifySettings": "OnCallSettings", "EXTENSION_NOTIFY": "EXTENSION_ON_CALL"}
    new |= {"extension-notify": "extension-on-call", "/events/notify": "/events/on-call"}
    expected = BELL
    for old, name in new.items():
        expected = expected.replace(old, name)
    assert code == expected
    assert "COPY on_call on_call\n" in (oncall / "Dockerfile").read_text()
    assert (oncall / "Dockerfile").read_text().endswith('CMD ["extension-kit", "serve", "on_call"]\n')
    assert yaml.safe_load((oncall / "values.yaml").read_text())["handlers"] == {"image": ["on_call"]}


def test_its_test_passes(oncall):
    assert passed_tests(oncall).startswith("1 passed")


def test_its_readme_leaves_out_what_is_elsewhere(oncall):
    text = (oncall / "README.md").read_text()
    about = text.partition("## Run it")[0]
    assert about == (
        "# extension-on-call\n\n"
        "Rings them so that [somebody](https://example.com/) hears, see [a sound](on_call/sounds.py), with\n"
        "`extension-kit serve on_call`.\n\n"
        "| variable | default | meaning |\n|---|---|---|\n| `EXTENSION_ON_CALL_BELLS` | `front` | Bells. |\n\n"
    )
    assert "\nextension-kit serve on_call\n" in text.partition("## Run it")[2]


def test_its_settings_are_its_own(oncall):
    printed = subprocess.run([KIT, "settings", "on_call"], cwd=oncall, capture_output=True, text=True, timeout=60)
    assert "| `EXTENSION_ON_CALL_BELLS` | `front` | Bells. Allowed: names separated by commas. |" in printed.stdout


def test_the_image_gets_the_extra_of_a_ready_made_extension(checkout):
    (checkout / "extensions/notify").rename(checkout / "extensions/tapis")
    assert extension_kit("new", "oncall", "--like", "tapis", cwd=checkout).returncode == 0
    assert (checkout / "oncall/requirements.txt").read_text().endswith(".whl[tapis]\n")


@pytest.mark.parametrize("name", SIMPLE)
def test_the_tests_of_a_ready_made_extension_pass_in_its_copy(tmp_path, name):
    assert extension_kit("new", "oncall", "--like", name, "--directory", tmp_path / "oncall", cwd=ROOT).returncode == 0
    assert " passed" in passed_tests(tmp_path / "oncall")


def test_a_file_can_be_copied(tmp_path):
    done = extension_kit("new", "oncall", "--like", APPS / "desk.py", "--directory", tmp_path / "oncall", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "EXTENSION_ONCALL_NAMES" in (tmp_path / "oncall/oncall/__init__.py").read_text()
    assert (tmp_path / "oncall/README.md").read_text().startswith("# extension-oncall\n\n## Run it\n")
    assert "[" not in (tmp_path / "oncall/requirements.txt").read_text()


@pytest.mark.parametrize(
    ("like", "complaint"),
    [
        ("notfy", "there is no extension 'notfy' to begin with: there are notify, or name a file or folder"),
        (
            "croneye",
            "croneye has an event protocol, with routes and tables of its own, which a copy would share: --like is for "
            "extensions of functions",
        ),
        ("two.py", "two.py has 2 extensions: --like is for files with one"),
        ("extensions", "extensions: a folder needs an __init__.py that defines or imports the extension"),
    ],
)
def test_what_cannot_be_copied_is_told_and_nothing_written(checkout, like, complaint):
    (checkout / "two.py").write_text(
        'from extension_kit import Extension\n\none = Extension("one")\ntwo = Extension("two")\n'
    )
    done = extension_kit("new", "oncall", "--like", like, cwd=checkout)
    assert (done.returncode, done.stderr) == (2, f"extension-kit: {complaint}\n")
    assert not (checkout / "oncall").exists()


def test_elsewhere_it_says_where_extensions_are(tmp_path):
    done = extension_kit("new", "oncall", "--like", "notify", cwd=tmp_path)
    assert "run this in a checkout of extension-kit, or in its image, or name a file or folder" in done.stderr
