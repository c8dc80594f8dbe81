"""What the pages tell to do works as it stands: helm's commands render, tags are those that the kit itself prints."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from extension_kit.cli import commands
from tests.helm.chart import CHART, helm
from tests.support.commands import extension_kit

ROOT = Path(__file__).parents[2]
MOVING = ROOT / "docs/how-to/move-to-postgresql.md"
GUIDES = [ROOT / "docs" / f"{name}.md" for name in ("tutorial", "upgrading", "how-to/ready-made")]
PAGES = [ROOT / "README.md", ROOT / "docs/install.md", CHART / "README.md", MOVING, *GUIDES]
INSTALL = (ROOT / "docs/install.md").read_text(encoding="utf-8")


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def helm_commands() -> list[list[str]]:
    """The words of each command on the pages that renders the chart."""
    lines = [line for page in PAGES for block in blocks(page, "sh") for line in block.replace("\\\n", " ").splitlines()]
    found = {tuple(shlex.split(line)) for line in lines if re.match(" *helm (install|upgrade|template) ", line)}
    return [list(words) for words in sorted(found)]


def merged(into: dict, values: dict) -> dict:
    both = {
        key: merged(into[key], values[key]) for key in into.keys() & values if isinstance(values[key], dict)
    }  # lists and words replace
    return into | values | both


def write_values(folder: Path, release: str) -> None:
    """Write the ``values.yaml`` of a page that shows one, else that of a new extension."""
    shown = [block for page in GUIDES if release in page.read_text() for block in blocks(page, "yaml")]
    if not shown:
        assert extension_kit("new", "oncall", "--directory", folder / "new").returncode == 0
        shown = [(folder / "new/values.yaml").read_text()]
    (folder / "values.yaml").write_text(shown[0])


@pytest.mark.parametrize("words", helm_commands(), ids=" ".join)
def test_a_command_for_helm_renders_what_runs(words, tmp_path, monkeypatch):
    checkout, beside = tmp_path / "extension-kit", tmp_path / "oncall"
    checkout.mkdir()
    beside.mkdir()
    (beside / "oncall.py").write_text("extension = ...\n")
    write_values(checkout, release := words[2])
    monkeypatch.chdir(checkout)
    command, _, chart, *options = words[1:]
    assert chart in ("helm/extension", "../extension-kit/helm/extension")
    # What an upgrade reuses: those before it on the same page.
    values = {"handlers": {"inline": {"oncall.py": "x"}}} if command == "upgrade" else {}
    only = ""
    while options:
        match options.pop(0):
            case "--set":
                values = merged(values, helm.parse_set_string(options.pop(0)))
            case "--set-file":
                values = merged(values, helm.parse_set_file(options.pop(0)))
            case "--values":
                values = merged(values, yaml.safe_load(Path(options.pop(0)).read_text()))
            case "--namespace":
                assert options.pop(0) == "steadybit-agent"
            case "--show-only":
                only = options.pop(0)
            case "--wait":
                pass
            case "--reuse-values" | "--reset-then-reuse-values":
                assert command == "upgrade"
            case other:
                raise AssertionError(f"the test does not know {other}")
    with helm.Chart.load(CHART) as loaded:
        rendered = loaded.render(values, name=release, namespace="steadybit-agent")
    web = yaml.safe_load(rendered["extension/templates/web.yaml"])
    assert web["metadata"]["name"] == release
    (container,) = web["spec"]["template"]["spec"]["containers"]
    assert container["command"][:2] == ["extension-kit", "serve"]
    if command == "template":
        shown = f"---\n# Source: extension/{only}\n{rendered[f'extension/{only}'].strip()}\n"
        assert any(shown in blocks(page, "yaml") for page in PAGES)


def test_the_job_that_copies_mounts_the_volume_of_the_chart_as_its_user():
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    (shown,) = blocks(MOVING, "yaml")
    job = yaml.safe_load(shown)
    kubernetes_validate.validate(job, kubernetes_validate.latest_version(), strict=True)
    with helm.Chart.load(CHART) as loaded:
        rendered = loaded.render({"handlers": {"inline": {"oncall.py": "x"}}}, name="extension-oncall")
    claim = yaml.safe_load(rendered["extension/templates/persistentvolumeclaim.yaml"])
    web = yaml.safe_load(rendered["extension/templates/web.yaml"])["spec"]["template"]["spec"]
    copy = job["spec"]["template"]["spec"]
    mounts = {volume["name"]: volume for volume in copy["volumes"]}
    assert mounts["data"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert copy["securityContext"].items() <= web["securityContext"].items()
    assert copy["containers"][0]["command"][3] == "sqlite:////data/extension.db"
    assert {"name": "data", "mountPath": "/data"} in web["containers"][0]["volumeMounts"]


SHOWN = blocks(CHART / "README.md", "yaml")


@pytest.mark.parametrize("shown", [block for block in SHOWN if not block.startswith("#")])
def test_values_shown_on_a_page_are_values(shown):
    with helm.Chart.load(CHART) as loaded:
        assert loaded.render(yaml.safe_load(shown), name="oncall")


def test_the_chart_that_is_shown_has_this_one_as_its_dependency(tmp_path):
    dependencies, values = (block for block in SHOWN if block.startswith("#"))
    (tmp_path / "charts").mkdir()
    shutil.copytree(CHART, tmp_path / "charts/extension")
    (tmp_path / "Chart.yaml").write_text(f"apiVersion: v2\nname: mine\nversion: 1.0.0\n{dependencies}")
    (tmp_path / "values.yaml").write_text(values)
    with helm.Chart.load(tmp_path) as loaded:
        on, off = (loaded.render({"oncall": {"enabled": enabled}}, name="mine") for enabled in (True, False))
    web = yaml.safe_load(on["mine/charts/oncall/templates/web.yaml"])
    (container,) = web["spec"]["template"]["spec"]["containers"]
    assert container["image"].startswith("registry.example.com/extension-kit:")
    assert off == {}


def test_the_task_definition_has_the_tags_that_the_kit_prints():
    (task,) = (shown for block in blocks(ROOT / "docs/install.md", "json") if "family" in (shown := json.loads(block)))
    printed = CliRunner().invoke(commands, ["registration", "http://extension-oncall:8080", "--ecs"]).output
    tags = json.loads(re.search(r'"tags": (\[.*\])', printed, re.DOTALL)[1])
    assert task["tags"] == tags
    (container,) = task["containerDefinitions"]
    assert [port["containerPort"] for port in container["portMappings"]] == [8080, 8081]


def test_the_two_lines_are_for_the_image_that_is_built():
    (built,) = re.findall(r"docker build --tag (\S+)", INSTALL)
    (lines,) = blocks(ROOT / "docs/install.md", "dockerfile")
    assert lines.splitlines() == [f"FROM {built}", "COPY oncall.py ."]


@pytest.mark.parametrize("file", sorted(set(re.findall(r"\bpackaging/\S+", INSTALL))))
def test_every_file_for_hosts_that_is_copied_is_there(file):
    assert (ROOT / file).is_file()


def test_every_file_for_hosts_is_copied():
    files = {str(path.relative_to(ROOT)) for path in (ROOT / "packaging").rglob("*") if path.is_file()}
    assert files == set(re.findall(r"\bpackaging/\S+", INSTALL))
