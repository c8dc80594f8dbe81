"""The chart, rendered by Helm itself, which comes as a library from pip."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

helm = pytest.importorskip("helm_python", reason="helm-python-sdk is not installed, or not for this machine")

CHART = Path(__file__).parents[2] / "helm/extension"
RELEASE, NAMESPACE = "oncall", "steadybit-agent"

Manifest = dict[str, Any]


def render(values: dict[str, Any] | None = None, name: str = RELEASE) -> dict[str, str]:
    """The text of each template that renders to something, by its file name, NOTES.txt included."""
    with helm.Chart.load(CHART) as chart:
        rendered = chart.render(values or {}, name=name, namespace=NAMESPACE)
    return {
        file.removeprefix("extension/templates/"): text.strip() + "\n"
        for file, text in sorted(rendered.items())
        if text.strip()
    }


def manifests(values: dict[str, Any] | None = None, name: str = RELEASE) -> list[Manifest]:
    texts = (text for file, text in render(values, name).items() if file != "NOTES.txt")
    return [document for text in texts for document in yaml.safe_load_all(text) if document]


def find(documents: list[Manifest], kind: str, ending: str = "") -> Manifest:
    """The one manifest of a kind whose name ends like this, after the release's own."""
    (found,) = [
        document
        for document in documents
        if document["kind"] == kind and document["metadata"]["name"] == f"{RELEASE}-extension{ending}"
    ]
    return found


def pod_specs(documents: list[Manifest]) -> Iterator[tuple[Manifest, Manifest]]:
    """Each manifest that makes pods, and the pods' spec."""
    for document in documents:
        if document["kind"] == "Pod":
            yield document, document["spec"]
        elif document["kind"] in ("Deployment", "Job"):
            yield document, document["spec"]["template"]["spec"]


def container(spec: Manifest) -> Manifest:
    (only,) = spec["containers"]
    return only


def environment(spec: Manifest) -> dict[str, str]:
    return {variable["name"]: variable.get("value", "") for variable in container(spec)["env"]}
