"""The chart as a dependency of another one: switched by a condition, several times under names of their own."""

import shutil

import pytest
import yaml

from tests.helm.chart import CHART, NAMESPACE, helm

DIGEST = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.fixture
def parent(tmp_path):
    """Make a chart that depends on this one, once for each alias, and render it with values."""
    version = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))["version"]

    def render(values, aliases=("oncall",), condition=True):
        chart = tmp_path / "parent"
        (chart / "charts").mkdir(parents=True)
        (chart / "templates").mkdir()
        (chart / "templates/own.yaml").write_text(
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}-own\n"
        )
        dependencies = [
            {"name": "extension", "version": version, "repository": f"file://{CHART}", "alias": alias}
            | ({"condition": f"{alias}.enabled"} if condition else {})
            for alias in aliases
        ]
        metadata = {"apiVersion": "v2", "name": "parent", "version": "1.0.0", "dependencies": dependencies}
        (chart / "Chart.yaml").write_text(yaml.safe_dump(metadata))
        shutil.copytree(CHART, chart / "charts/extension")
        assert helm.lint(chart, values, strict=True)["errors"] == []
        with helm.Chart.load(chart) as loaded:
            rendered = loaded.render(values, name="release", namespace=NAMESPACE)
        return [
            document
            for file, text in rendered.items()
            if not file.endswith("NOTES.txt")
            for document in yaml.safe_load_all(text)
            if document
        ]

    return render


def named(documents, kind):
    return {document["metadata"]["name"]: document for document in documents if document["kind"] == kind}


@pytest.mark.parametrize("values", [{}, {"oncall": {"enabled": True}}])
def test_a_condition_that_holds_installs_it(parent, values):
    assert named(parent(values), "Deployment").keys() == {"release-oncall"}


def test_a_condition_that_does_not_hold_leaves_it_out(parent):
    documents = parent({"oncall": {"enabled": False}})
    assert [document["metadata"]["name"] for document in documents] == ["release-own"]


def test_without_a_condition_it_cannot_be_switched_off(parent):
    with pytest.raises(helm.HelmError, match=r"give the dependency `condition: oncall\.enabled`"):
        parent({"oncall": {"enabled": False}}, condition=False)


def test_each_of_several_has_names_and_pods_of_its_own(parent):
    documents = parent(
        {
            "global": {"image": {"registry": "registry.example.com", "pullPolicy": "Always", "pullSecrets": ["pull"]}},
            "oncall": {"extension": "announce", "image": {"digest": DIGEST}, "podSecurityContext": {"runAsUser": None}},
            "pager": {"extension": "pager", "image": {"pullPolicy": "Never", "tag": "2"}},
        },
        aliases=("oncall", "pager"),
    )
    names = [(document["kind"], document["metadata"]["name"]) for document in documents]
    assert len(set(names)) == len(names)
    services = named(documents, "Service")
    pods = {name: each["spec"]["template"] for name, each in named(documents, "Deployment").items()}
    assert pods.keys() == services.keys() == {"release-oncall", "release-pager"}
    for name, service in services.items():
        selected = service["spec"]["selector"].items()
        assert [other for other, pod in pods.items() if selected <= pod["metadata"]["labels"].items()] == [name]
    specs = {name: pod["spec"] for name, pod in pods.items()}
    images = {name: (*spec["containers"],)[0] for name, spec in specs.items()}
    assert images["release-oncall"]["image"] == f"registry.example.com/extension-kit@{DIGEST}"
    assert images["release-oncall"]["imagePullPolicy"] == "Always"
    assert images["release-pager"]["image"] == "registry.example.com/extension-kit:2"
    assert images["release-pager"]["imagePullPolicy"] == "Never"
    assert all(spec["imagePullSecrets"] == [{"name": "pull"}] for spec in specs.values())
    assert "runAsUser" not in specs["release-oncall"]["securityContext"]
    assert specs["release-pager"]["securityContext"]["runAsUser"] == 10000


def test_globals_of_other_charts_are_no_concern_of_this_one(parent):
    assert parent({"global": {"storageClass": "fast", "postgresql": {"auth": {}}, "image": {"tag": "x"}}})


def test_a_value_that_is_not_known_is_refused_there_too(parent):
    with pytest.raises((helm.HelmError, AssertionError), match="'replica' not allowed"):
        parent({"oncall": {"replica": 2}})
