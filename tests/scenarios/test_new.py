"""A newcomer writes ``extension-kit new oncall`` and gets an extension that works as it stands."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml

import extension_kit as extension_kit_package
from extension_kit.cli.own_wheel import write_wheel
from tests.helm.image import ROOT_ONLY, instructions
from tests.support.commands import extension_kit
from tests.support.servers import free_port

COMMAND = Path(sys.executable).with_name("extension-kit")
CHART = Path(__file__).parents[2] / "helm/extension"
FILES = {
    ".dockerignore",
    ".gitignore",
    "Dockerfile",
    "README.md",
    "oncall.py",
    "pyproject.toml",
    "requirements.txt",
    "test_oncall.py",
    "values.yaml",
}
WHEEL = f"wheels/extension_kit-{version('extension-kit')}-py3-none-any.whl"


def run(*command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    # Without the surrounding pytest's settings, so that the new extension is seen as its user sees it.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "STEADYBIT"))}
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=60
    )


def new(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return extension_kit("new", *arguments, cwd=cwd)


def tree(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def event(name: str, **objects: object) -> dict[str, object]:
    tenant = {"key": "exmpl", "name": "Example Inc."}
    return {"id": name, "eventName": name, "eventTime": "2026-01-02T03:04:05Z", "tenant": tenant} | objects


@pytest.fixture
def oncall(tmp_path: Path) -> Path:
    result = new("oncall", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    return tmp_path / "oncall"


def test_writes_every_file_with_every_placeholder_filled(oncall: Path) -> None:
    written = {path.name: path.read_text() for path in oncall.iterdir() if path.is_file()}
    assert written.keys() == FILES
    for text in written.values():
        assert not re.search(r"\$|MODULE|\.tmpl", text)
        assert text.endswith("\n")


def test_says_what_to_do_next(tmp_path: Path) -> None:
    result = run(COMMAND, "new", "oncall", "--directory", "my extensions/on call", cwd=tmp_path)
    assert tree(tmp_path / "my extensions" / "on call").keys() == FILES | {WHEEL}
    for line in ("cd 'my extensions/on call'", "python -m pytest", "extension-kit serve oncall.py"):
        assert f"  {line}\n" in result.stdout


def test_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = "  python3 -m venv .venv && . .venv/bin/activate\n"
    installation = f"{environment}  pip install --requirement requirements.txt pytest\n"
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert f"cd oncall\n{installation}  python -m pytest\n" in run(COMMAND, "new", "oncall", cwd=tmp_path).stdout
    monkeypatch.setenv("PATH", f"{COMMAND.parent}:/usr/bin:/bin")
    assert "cd other\n  python -m pytest\n" in run(COMMAND, "new", "other", cwd=tmp_path).stdout


def test_its_test_passes(oncall: Path) -> None:
    result = run(sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", cwd=oncall)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "3 passed" in result.stdout


def test_prints_what_an_agent_sends_to_it(oncall: Path, tmp_path: Path) -> None:
    failed = {
        "experimentKey": "SHOP-1",
        "executionId": 7,
        "name": "Shop survives",
        "state": "failed",
        "reason": "no",
    }
    user = {"principalType": "user", "username": "tom", "name": "Tom Mason"}
    events = [
        event("experiment.execution.completed", experimentExecution=failed | {"state": "completed"}),
        event("experiment.execution.failed", experimentExecution=failed),
        event("killswitch.engaged", principal=user),
    ]
    (tmp_path / "events.json").write_text(json.dumps(events))
    socket = tmp_path / "oncall.sock"
    environment = os.environ | {"STEADYBIT_EXTENSION_UNIX_SOCKET": str(socket), "PYTHONUNBUFFERED": "1"}
    with (
        (tmp_path / "log").open("w+") as log,
        subprocess.Popen(
            [COMMAND, "serve", "oncall.py"], cwd=oncall, env=environment, stdout=subprocess.PIPE, stderr=log, text=True
        ) as server,
    ):
        try:
            agent = run(
                COMMAND, "agent", f"unix:{socket}", "--replay", "events.json", "--fast", "--wait", 30, cwd=tmp_path
            )
            printed = [server.stdout.readline().strip() for _ in range(2)]
        finally:
            server.terminate()
            more, _ = server.communicate(timeout=30)
    assert agent.returncode == 0, agent.stderr + (tmp_path / "log").read_text()
    assert sorted(printed) == ["SHOP-1: Shop survives failed (no)", "killswitch.engaged by Tom Mason"]
    assert more == ""
    assert server.returncode == 143


@pytest.mark.skipif(find_spec("ruff") is None, reason="ruff is not installed")
@pytest.mark.parametrize(
    "check", [("check", "--no-cache", "--select", "E,F,W,I,UP,B,RUF,PT,ANN"), ("format", "--diff", "--no-cache")]
)
def test_has_nothing_for_ruff_to_find(oncall: Path, check: tuple[str, ...]) -> None:
    result = run(sys.executable, "-m", "ruff", *check, cwd=oncall)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.fixture(scope="module")
def dependencies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is installed for these tests, but for the kit itself."""
    directory = tmp_path_factory.mktemp("dependencies")
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if "extension_kit" not in path.name:
            (directory / path.name).symlink_to(path)
    return directory


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("made")
    assert new("oncall", cwd=directory).returncode == 0
    return directory / "oncall"


def shell(*lines: str, cwd: Path, code: int = 0, **more: object) -> str:
    """What shell commands say; they find no package index, and nothing that this process has activated."""
    mine = ("PYTHON", "PYTEST", "STEADYBIT", "EXTENSION", "VIRTUAL_ENV")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(mine)}
    environment |= {"PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    environment |= {name: str(value) for name, value in more.items()}
    done = subprocess.run(
        ["sh", "-e"], input="\n".join(lines), cwd=cwd, env=environment, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def installed(made: Path, dependencies: Path) -> Path:
    """The extension after the first commands of its README."""
    venv, activate, install, _ = commands(made, "Run it")
    python = shlex.quote(sys.executable)
    lend = f"echo {dependencies} > $(python -c 'import sysconfig; print(sysconfig.get_path(\"purelib\"))')/lent.pth"
    shell(venv.replace("python3", python), activate, lend, install, cwd=made)
    return made


class TestInstalling:
    """The README and the Dockerfile, to the letter; only what the kit depends on comes from this machine."""

    def test_its_readme_can_be_followed(self, installed: Path, tmp_path: Path) -> None:
        _, activate, _, serve = commands(installed, "Run it")
        (agent,) = commands(installed, "Try it")
        port, health_port = free_port(), free_port()
        ports = {"STEADYBIT_EXTENSION_PORT": port, "STEADYBIT_EXTENSION_HEALTH_PORT": health_port}
        said = shell(
            activate,
            f"{serve} > {tmp_path}/log 2>&1 &",
            "trap 'kill $!; wait $! || true' EXIT",
            f"{agent.replace('8080', str(port))} --wait 30 --seed 3",
            cwd=installed,
            **ports,
        )
        assert "refused: 0" in said
        assert str(installed / ".venv") in shell(activate, "command -v extension-kit", cwd=installed)
        install_pytest, test = commands(installed, "Test it")
        assert "3 passed" in shell(activate, install_pytest, test, cwd=installed)

    def test_its_dockerfile_can_be_followed(self, installed: Path, tmp_path: Path) -> None:
        """Its steps in a directory that has only what they copy, with the machine for the base image."""
        activate = f". {shlex.quote(str(installed / '.venv/bin/activate'))}"
        shell(activate, "pip uninstall --yes extension-kit", cwd=installed)
        ran = []
        for name, rest in instructions((installed / "Dockerfile").read_text()):
            if name == "COPY":
                source, target = rest.split()
                copy = shutil.copytree if (installed / source).is_dir() else shutil.copy
                copy(installed / source, tmp_path / target)
            elif name == "RUN" and not rest.startswith(ROOT_ONLY):
                ran.append(rest)
                shell(activate, rest, cwd=tmp_path)
            elif name == "CMD":
                command = json.loads(rest)
        assert len(ran) == 1
        start = f"{shlex.join(command)} & trap 'kill $!; wait $! || true' EXIT"
        agent = f"extension-kit agent unix:{tmp_path}/s --fast --wait 30"
        socket = {"STEADYBIT_EXTENSION_UNIX_SOCKET": tmp_path / "s"}
        assert "refused: 0" in shell(activate, start, agent, cwd=tmp_path, **socket)

    def test_the_wheel_is_the_kit(self, made: Path) -> None:
        assert (made / "requirements.txt").read_text() == f"./{WHEEL}\n"
        package = Path(extension_kit_package.__file__).parent
        with ZipFile(made / WHEEL) as wheel:
            assert wheel.testzip() is None
            names = set(wheel.namelist())
            assert wheel.read("extension_kit/loading.py") == (package / "loading.py").read_bytes()
        assert {name for name in names if ".dist-info/" not in name} == {
            f"extension_kit/{path.relative_to(package)}"
            for path in package.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        assert "extension_kit/scaffold/Dockerfile.tmpl" in names

    def test_the_wheel_is_the_same_each_time(self, made: Path, tmp_path: Path) -> None:
        write_wheel(tmp_path)
        assert (tmp_path / Path(WHEEL).name).read_bytes() == (made / WHEEL).read_bytes()

    def test_what_came_from_an_index_is_named_as_it_is_there(self, tmp_path: Path) -> None:
        """From a copy of this kit, installed without a note of where it came from."""
        made_of = tmp_path / "site"
        write_wheel(tmp_path)
        with ZipFile(tmp_path / Path(WHEEL).name) as wheel:
            wheel.extractall(made_of)
        command = "import sys; from extension_kit.cli import main; sys.argv[0] = 'extension-kit'; main()"
        environment = {**os.environ, "PYTHONPATH": str(made_of)}
        line = [sys.executable, "-c", command, "new", "oncall"]
        subprocess.run(line, cwd=tmp_path, env=environment, check=True, capture_output=True, timeout=60)
        assert tree(tmp_path / "oncall").keys() == FILES
        assert (tmp_path / "oncall/requirements.txt").read_text() == f"extension-kit=={version('extension-kit')}\n"
        assert "wheels" not in "".join(path.read_text() for path in (tmp_path / "oncall").iterdir())


def commands(directory: Path, heading: str) -> list[str]:
    """The commands of a section of the README."""
    section = (directory / "README.md").read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return [line for block in re.findall(r"```sh\n(.*?)```", section, re.DOTALL) for line in block.splitlines()]


def test_image_serves_the_module_as_an_ordinary_user(oncall: Path) -> None:
    lines = (oncall / "Dockerfile").read_text().splitlines()
    assert {"COPY oncall.py .", "USER 10000", "EXPOSE 8080 8081", 'VOLUME ["/data", "/tmp"]'} <= set(lines)
    assert any("EXTENSION_DATABASE_URL=sqlite:////data/extension.db" in line for line in lines)
    assert lines[-1] == 'CMD ["extension-kit", "serve", "oncall.py"]'


def test_values_name_the_image_that_the_readme_builds(oncall: Path) -> None:
    image = yaml.safe_load((oncall / "values.yaml").read_text())["image"]
    assert (
        f"docker build --tag {image['registry']}/{image['name']}:{image['tag']} ." in (oncall / "README.md").read_text()
    )


def test_the_chart_serves_the_module_with_these_values(oncall: Path) -> None:
    helm = pytest.importorskip("helm_python", reason="helm-python-sdk is not installed, or not for this machine")
    with helm.Chart.load(CHART) as chart:
        rendered = chart.render(yaml.safe_load((oncall / "values.yaml").read_text()), name="extension-oncall")
    (container,) = yaml.safe_load(rendered["extension/templates/web.yaml"])["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.example.com/extension-oncall:0.1.0"
    assert container["command"] == ["extension-kit", "serve", "oncall.py"]


@pytest.mark.parametrize("name", ["extension-on-call2", "on-call2"])
def test_is_called_extension_whatever_is_said(tmp_path: Path, name: str) -> None:
    new(name, cwd=tmp_path)
    assert 'Extension("extension-on-call2")' in (tmp_path / name / "on_call2.py").read_text()


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("On-Call", "expected lower-case letters, digits, dashes"),
        ("on_call", "expected lower-case letters, digits, dashes"),
        ("on--call", "expected lower-case letters, digits, dashes"),
        ("oncall-", "expected lower-case letters, digits, dashes"),
        ("2oncall", "expected lower-case letters, digits, dashes"),
        ("extension-", "expected lower-case letters, digits, dashes"),
        ("../oncall", "expected lower-case letters, digits, dashes"),
        ("oncall\n", "expected lower-case letters, digits, dashes"),
        ("", "expected lower-case letters, digits, dashes"),
        ("o" * 44, "may have 53 characters"),
        ("json", "would hide the Python module json"),
        ("extension-flask", "would hide the Python module flask"),
        ("class", "would hide the Python module class"),
    ],
)
def test_refuses_a_bad_name_and_writes_nothing(tmp_path: Path, name: str, complaint: str) -> None:
    result = new(name, cwd=tmp_path)
    assert result.returncode == 2
    assert complaint in result.stderr
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_takes_an_empty_directory(tmp_path: Path) -> None:
    (tmp_path / "oncall").mkdir()
    assert new("oncall", cwd=tmp_path).returncode == 0
    assert tree(tmp_path / "oncall").keys() == FILES | {WHEEL}


@pytest.mark.parametrize("taken", ["oncall/.hidden", "oncall", "oncall.py"])
def test_leaves_alone_what_is_there(tmp_path: Path, taken: str) -> None:
    (tmp_path / taken).parent.mkdir(exist_ok=True)
    (tmp_path / taken).write_text("mine")
    directory = "oncall.py/below/a/file" if taken == "oncall.py" else "oncall"
    result = new("oncall", "--directory", directory, cwd=tmp_path)
    assert result.returncode == 2
    assert re.fullmatch(f"extension-kit: {directory} (exists already|cannot be written).*\n", result.stderr)
    assert tree(tmp_path) == {taken: b"mine"}
