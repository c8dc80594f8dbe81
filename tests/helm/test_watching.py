"""Alerts, the dashboard and KEDA ask for metrics that a served extension has, and alerts fire when they should."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from extension_kit.agent.factory import EventFactory
from tests.helm.chart import CHART, find, manifests, render
from tests.helm.snapshots import values
from tests.support.metrics import scrape
from tests.support.servers import serve_app
from tests.support.waiting import wait_until

promql = pytest.importorskip("promql_parser", reason="promql-parser is not installed, or not for this machine")

RULE = find(manifests(values("watched")), "PrometheusRule")
ALERTS = [rule for group in RULE["spec"]["groups"] for rule in group["rules"]]
DASHBOARD = json.loads((CHART / "dashboards/extension-kit.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
(SCALED,) = find(manifests(values("keda-prometheus")), "ScaledObject", "-worker")["spec"]["triggers"]
OPERATIONS = (Path(__file__).parents[2] / "docs/operations.md").read_text(encoding="utf-8")

# Beside the labels of the extension: what Prometheus gives to the series of a pod.
OF_PROMETHEUS = {"namespace", "job", "pod", "instance"}

EXPRESSIONS = {
    **{f"alert {alert['alert']}": alert["expr"] for alert in ALERTS},
    **{
        f"panel {panel['id']} {panel['title']} {target['refId']}": target["expr"].replace("$__rate_interval", "5m")
        for panel in PANELS
        for target in panel["targets"]
    },
    "trigger of KEDA": SCALED["metadata"]["query"],
}


class Used:
    """Series and labels that an expression uses.

    Args:
        expression: in PromQL; one that is wrong is a ``ValueError``.
    """

    def __init__(self, expression):
        self.labels = {}  # by series

        def look(expression):
            if isinstance(expression, promql.AggregateExpr):
                grouped = {*expression.modifier.labels} if expression.modifier else set()
                for series, labels in Used(str(expression.expr)).labels.items():
                    self.labels.setdefault(series, set()).update(labels | grouped)
            elif isinstance(expression, promql.VectorSelector):
                matched = {matcher.name for matcher in expression.matchers.matchers}
                self.labels.setdefault(expression.name, set()).update(matched)
            return True

        promql.walk(promql.parse(expression), look)


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    """The labels of each series of an extension that has got an event, by its name."""
    wanted = {name for expression in EXPRESSIONS.values() for name in Used(expression).labels}
    directory = tmp_path_factory.mktemp("served")
    with serve_app("ledger", directory / "log", LEDGER=directory / "ledger") as served:
        assert served.post("/events/plain", EventFactory().event("experiment.execution.completed")).status == 200

        def found():
            labels = {}
            for name, *pairs in scrape(served.health_port, "extension_"):
                labels.setdefault(name, set()).update(pair.partition("=")[0] for pair in pairs)
            return labels

        wait_until(lambda: wanted <= found().keys())
        yield found()


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_every_series_is_one_of_a_served_extension_with_these_labels(series, name):
    used = Used(EXPRESSIONS[name]).labels
    assert used
    unknown = {each: labels - series[each] - OF_PROMETHEUS for each, labels in used.items()}
    assert not any(unknown.values()), unknown


def test_expressions_ask_for_one_release_only():
    for name, expression in EXPRESSIONS.items():
        for each, labels in Used(expression).labels.items():
            assert "job" in labels, f"{name}: {each}"


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_every_alert_says_what_it_is_about_and_what_to_do(alert):
    assert alert["labels"]["severity"] in ("warning", "critical")
    assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}
    page, anchor = alert["annotations"]["runbook_url"].split("#")
    assert page == "docs/operations.md"
    assert anchor == alert["alert"].lower()
    assert re.search(rf"^#+ {alert['alert']}$", OPERATIONS, re.MULTILINE)


def test_the_thresholds_are_those_that_are_asked_for():
    given = {
        "seriesMatchers": 'job="mine"',
        "prometheusRule": {"enabled": True, "lateAfterSeconds": 77, "freeMegabytes": 5, "runbooks": "https://x/op"},
    }
    rules = render(given)["prometheusrule.yaml"]
    assert '{job="mine"}) > 77\n' in rules
    assert '{job="mine"}) < 5000000\n' in rules
    assert "runbook_url: https://x/op#extensiondeadletters\n" in rules


def test_promtool_finds_that_each_alert_fires_when_it_should(tmp_path):
    if (promtool := shutil.which("promtool")) is None:
        pytest.skip("promtool is not installed")
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(RULE["spec"]))
    shutil.copy(Path(__file__).parent / "alerts.yaml", tmp_path)
    for command in (["check", "rules", "rules.yaml"], ["test", "rules", "alerts.yaml"]):
        done = subprocess.run([promtool, *command], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_series_that_make_it_fire():
    tests = yaml.safe_load((Path(__file__).parent / "alerts.yaml").read_text(encoding="utf-8"))["tests"]
    fired = {each["alertname"] for test in tests for each in test["alert_rule_test"] if each["exp_alerts"]}
    assert fired == {alert["alert"] for alert in ALERTS}
    assert len(ALERTS) == 6


def test_the_panels_lie_beside_each_other_and_each_is_described():
    taken = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        fields = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not fields & taken
        taken |= fields
    assert all(panel["description"].endswith(".") for panel in PANELS)
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_the_sidecar_finds_the_dashboard_as_it_is_in_the_chart():
    shown = find(manifests(values("watched")), "ConfigMap", "-dashboard")
    assert shown["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(shown["data"]["extension-kit.json"]) == DASHBOARD
