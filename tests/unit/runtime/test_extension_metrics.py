"""Metrics that functions of extensions return, on the page of one process and on that of several."""

import logging

import pytest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from extension_kit import Extension, RegistrationError
from extension_kit.observability import metrics_page
from extension_kit.observability.metrics import DIRECTORY
from extension_kit.observability.metrics_page import no_backlog, page
from extension_kit.runtime.extension_metrics import ExtensionMetrics
from tests.support.metrics import read_samples


@pytest.fixture(autouse=True, params=["one process", "several processes"])
def shared(request, monkeypatch, tmp_path):
    monkeypatch.setattr(metrics_page, "_text", b"")
    monkeypatch.delenv(DIRECTORY, raising=False)
    if request.param == "several processes":
        monkeypatch.setenv(DIRECTORY, str(tmp_path))


def metrics_of(*functions):
    hooks = []
    for number, function in enumerate(functions):
        extension = Extension(f"extension-{number}")
        extension.metrics(function)
        hooks += extension.registry.hooks
    return ExtensionMetrics(hooks)


def collect_all(metrics):
    for hook in metrics.hooks:
        metrics.collect(hook)


def gauge(name, value):
    return GaugeMetricFamily(name, "Help.", value)


def shown():
    found = page(no_backlog)
    assert found.status == 200
    return read_samples(found.body.decode(), "oncall_")


def test_metrics_are_shown_beside_those_of_the_kit():
    numbers = [1, 2]
    metrics = metrics_of(
        lambda: [gauge("oncall_pages", numbers[0]), CounterMetricFamily("oncall_calls", "H.", value=3)]
    )
    assert shown() == {}
    collect_all(metrics)
    assert shown() == {("oncall_pages",): 1.0, ("oncall_calls_total",): 3.0}
    numbers[0] = 4
    collect_all(metrics)
    assert shown()["oncall_pages",] == 4.0


def test_an_async_function_is_asked_too():
    async def collect():
        return [gauge("oncall_pages", 1)]

    collect_all(metrics_of(collect))
    assert shown() == {("oncall_pages",): 1.0}


def test_while_a_function_fails_its_last_metrics_are_shown(caplog):
    answers = [[gauge("oncall_pages", 1)], OSError("no database"), OSError("no database"), [gauge("oncall_pages", 2)]]

    def collect():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    metrics = metrics_of(collect, lambda: [gauge("oncall_calls", len(answers))])
    collect_all(metrics)
    assert shown() == {("oncall_pages",): 1.0, ("oncall_calls",): 3.0}
    with caplog.at_level(logging.ERROR):
        collect_all(metrics)
        collect_all(metrics)
    assert shown() == {("oncall_pages",): 1.0, ("oncall_calls",): 1.0}
    assert len([record for record in caplog.records if "its last metrics are shown" in record.message]) == 1
    collect_all(metrics)
    assert shown() == {("oncall_pages",): 2.0, ("oncall_calls",): 0.0}


@pytest.mark.parametrize("answer", [None, {"oncall_pages": 1}, [1], [gauge("extension_pages", 1)]])
def test_other_answers_are_refused(caplog, answer):
    collect_all(metrics_of(lambda: answer))
    assert shown() == {}
    assert "metrics" in caplog.text


def test_a_metric_belongs_to_one_extension(caplog):
    collect_all(metrics_of(lambda: [gauge("oncall_pages", 1)], lambda: [gauge("oncall_pages", 2)]))
    assert shown() == {("oncall_pages",): 1.0}
    assert "another extension or the kit has a metric oncall_pages" in caplog.text


def test_other_hooks_are_left_alone():
    extension = Extension("extension-oncall")
    extension.on_start(lambda: pytest.fail("not a metric"))
    assert ExtensionMetrics(extension.registry.hooks).hooks == []


def test_a_function_takes_no_arguments():
    with pytest.raises(RegistrationError, match="metrics calls it without any"):
        Extension("extension-oncall").metrics(lambda registry: [])
