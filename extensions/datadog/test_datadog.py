import pytest

from extensions import datadog


@pytest.fixture
def extension(monkeypatch):
    monkeypatch.setenv("EXTENSION_DATADOG_API_KEY", "a-key")
    return datadog.extension


@pytest.fixture
def sent(monkeypatch):
    """The bodies that would be sent."""
    bodies = []
    monkeypatch.setattr(datadog, "_post", bodies.append)
    return bodies


def test_the_end_of_a_run_is_told(agent, sent):
    agent.send("experiment.execution.failed", experiment_key="ADM-4", execution_id=34)
    (body,) = sent
    assert body["title"] == "Experiment 'ADM-4' ended"
    assert body["aggregation_key"] == "steadybit-execution-34"
    assert body["alert_type"] == "error"


def test_an_attack_on_a_target_is_told_with_its_step(agent, sent):
    run = {"experiment_key": "ADM-4", "execution_id": 34}
    step = agent.factory.event("experiment.execution.step-started", **run, action_kind="attack", custom_label="Stop it")
    agent.send(step)
    its_step = step["experimentStepExecution"]["id"]
    agent.send("experiment.execution.target-started", **run, step_execution_id=its_step)
    (body,) = sent
    assert "Attack `Stop it` started." in body["text"]


def test_a_target_without_a_known_step_is_not_told(agent, sent):
    agent.send("experiment.execution.target-started")
    assert sent == []
