import pytest

from extensions import grafana


class FakeGrafana:
    """Keeps annotations in place of a Grafana."""

    def __init__(self):
        self.kept = []

    def create(self, annotation):
        self.kept.append(annotation)
        return len(self.kept)

    def change(self, number, annotation):
        self.kept[number - 1] = annotation
        return True

    def find(self, annotation):
        return None


@pytest.fixture
def extension(monkeypatch):
    monkeypatch.setenv("EXTENSION_GRAFANA_URL", "http://localhost:3000")
    monkeypatch.setenv("EXTENSION_GRAFANA_TOKEN", "a-token")
    monkeypatch.setenv("EXTENSION_GRAFANA_STEPS", "true")
    return grafana.extension


@pytest.fixture
def kept(monkeypatch):
    fake = FakeGrafana()
    monkeypatch.setattr(grafana, "connect", lambda settings: fake)
    return fake.kept


def test_a_run_and_its_steps_are_annotated_from_their_start_to_their_end(agent, kept):
    events = list(agent.factory.run(outcome="failed", steps=1))
    agent.play(events)
    run, step = kept
    assert run.text.startswith(f"Experiment {events[0]['experimentExecution']['experimentKey']}: ")
    assert "kind:run" in run.tags
    assert "kind:step" in step.tags
    assert all("state:failed" in each.tags and each.time < each.time_end for each in kept)


def test_a_run_that_has_not_ended_has_no_end(agent, kept):
    agent.send("experiment.execution.created", started_time="2026-03-02T09:22:02.636Z")
    (run,) = kept
    assert (run.time, run.time_end) == (1772443322636, None)
