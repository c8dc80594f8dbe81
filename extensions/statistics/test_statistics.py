import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from extension_kit import SettingError
from extension_kit.testing import EventFactory, InMemoryAgent
from extensions import statistics


@pytest.fixture
def extension():
    return statistics.extension


class Shown:
    def collect(self):
        return statistics.collect()


def samples():
    """The metrics as Prometheus reads them, without those that are 0."""
    families = text_string_to_metric_families(generate_latest(Shown()).decode())
    return {
        (sample.name, *(f"{name}={value}" for name, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
        if sample.value
    }


TEAM = {"team": {"key": "SHOP", "name": "Online Shop"}}


def end(agent, state="completed", **changes):
    return agent.send(f"experiment.execution.{state}", **(TEAM | changes))


def test_an_ended_run_counts_with_its_state_and_its_duration(agent):
    times = {"started_time": "2026-03-02T09:00:00Z", "ended_time": "2026-03-02T09:00:45.5Z"}
    end(agent, "failed", execution_id=1, **times)
    end(agent, "completed", execution_id=2, **times)
    end(agent, "completed", execution_id=3, started_time=None, prepared_time=None)
    found = samples()
    assert found["experiment_runs_total", "state=failed", "team=SHOP"] == 1
    assert found["experiment_runs_total", "state=completed", "team=SHOP"] == 2
    assert found["experiment_run_seconds_count", "team=SHOP"] == 2  # the third has no start
    assert found["experiment_run_seconds_sum", "team=SHOP"] == 91
    assert ("experiment_run_seconds_bucket", "le=30.0", "team=SHOP") not in found
    assert found["experiment_run_seconds_bucket", "le=60.0", "team=SHOP"] == 2
    assert found["experiment_run_seconds_bucket", "le=+Inf", "team=SHOP"] == 2


def test_the_time_of_the_event_is_that_of_an_end_that_is_missing(agent):
    end(agent, started_time="2026-03-02T09:00:00Z", ended_time=None, event_time="2026-03-02T09:00:20Z")
    assert samples()["experiment_run_seconds_sum", "team=SHOP"] == 20


def test_a_run_counts_once_whatever_is_sent_again(agent):
    for number in range(3):
        end(agent, execution_id=1, id=f"event-{number}")
    end(agent, "canceled", execution_id=1)
    assert [name for name in samples() if name[0] == "experiment_runs_total"] == [
        ("experiment_runs_total", "state=completed", "team=SHOP")
    ]
    assert samples()["experiment_runs_total", "state=completed", "team=SHOP"] == 1


def test_runs_are_running_from_their_start_to_their_end(agent):
    running = ("experiment_runs_running", "team=SHOP")
    for number in (1, 1, 2):
        agent.send("experiment.execution.created", execution_id=number, **TEAM)
    assert samples()[running] == 2
    end(agent, execution_id=1)
    assert samples()[running] == 1
    agent.send("experiment.execution.created", execution_id=1, id="late", **TEAM)
    assert samples()[running] == 1
    end(agent, "errored", execution_id=2)
    assert running not in samples()


def test_steps_count_by_kind_and_state(agent):
    for number in range(2):
        for kind, state in (("attack", "completed"), ("check", "failed"), ("basic", "skipped")):
            step = {"execution_id": 1, "action_kind": kind, "experiment_step_execution": {"id": f"{kind}-id"}}
            agent.send(f"experiment.execution.step-{state}", id=f"{kind}-{number}", **(TEAM | step))
    wait = {"type": "wait", "actionKind": None, "id": "wait-id"}
    agent.send("experiment.execution.step-completed", execution_id=1, experiment_step_execution=wait, **TEAM)
    found = {name: value for name, value in samples().items() if name[0] == "experiment_steps_total"}
    assert found == {
        ("experiment_steps_total", f"kind={kind}", f"state={state}", "team=SHOP"): 1
        for kind, state in (("attack", "completed"), ("check", "failed"), ("other", "skipped"), ("wait", "completed"))
    }


@pytest.mark.parametrize("filler", ["0", "\N{OLD PERSIAN SIGN A}"], ids=["plain", "wide"])
def test_any_number_of_steps_counts(agent, filler):
    for number in range(1200):
        step = {"id": f"{number:04}".replace("0", filler) * 100}
        agent.send(
            "experiment.execution.step-completed",
            execution_id=1,
            action_kind="check",
            experiment_step_execution=step,
            **TEAM,
        )
    assert samples()["experiment_steps_total", "kind=check", "state=completed", "team=SHOP"] == 1200


def test_whole_runs_add_up(agent):
    bodies = list(EventFactory(5).runs(20))
    agent.play(bodies)
    totals = {}
    for (name, *_), value in samples().items():
        totals[name] = totals.get(name, 0) + value
    assert totals["experiment_runs_total"] == 20
    assert "experiment_runs_running" not in totals
    ends = [body for body in bodies if ".step-" in body["eventName"] and not body["eventName"].endswith("-started")]
    assert totals["experiment_steps_total"] == len(ends)


@pytest.mark.parametrize(
    ("setting", "labels"),
    [
        ("none", ()),
        ("team", ("team=SHOP",)),
        ("environment", ("environment=Staging",)),
        ("environment, Team", ("environment=Staging", "team=SHOP")),
    ],
)
def test_the_setting_names_the_labels(monkeypatch, extension, setting, labels):
    monkeypatch.setenv("EXTENSION_STATISTICS_LABELS", setting)
    agent = InMemoryAgent(extension)
    end(agent, environment={"name": "Staging"}, execution_id=1)
    assert samples()["experiment_runs_total", *sorted(("state=completed", *labels))] == 1


def test_without_labels_everything_is_shown_before_the_first_run(monkeypatch, extension):
    monkeypatch.setenv("EXTENSION_STATISTICS_LABELS", "none")
    InMemoryAgent(extension)
    text = generate_latest(Shown()).decode()
    assert 'experiment_runs_total{state="completed"} 0.0' in text
    assert "experiment_runs_running 0.0" in text


def test_labels_have_a_bounded_number_of_values(agent):
    for number in range(130):
        end(agent, team={"key": f"T{number}", "name": ""}, execution_id=number)
    end(agent, team={"key": "T7", "name": ""}, execution_id=1000)
    found = {name: value for name, value in samples().items() if name[0] == "experiment_runs_total"}
    assert len(found) == 101
    assert found["experiment_runs_total", "state=completed", "team=other"] == 30
    assert found["experiment_runs_total", "state=completed", "team=T7"] == 2


@pytest.mark.parametrize("key", ["a\x1fb\x1ec", "\x00", 'quo"te\\', "x" * 1000, "a=b", ""])
def test_any_value_can_be_a_label(agent, key):
    end(agent, team={"key": key, "name": ""}, execution_id=1)
    [(name, _, label)] = [name for name in samples() if name[0] == "experiment_runs_total"]
    assert (name, label[:5]) == ("experiment_runs_total", "team=")
    assert len(label) <= 65


def test_events_without_a_run_are_left_out(agent):
    sent = end(agent, experiment_execution=None)
    assert [delivery.status for delivery in sent.deliveries] == ["delivered"]
    assert samples() == {}


@pytest.mark.parametrize("setting", ["execution", "team,execution", "none,team", ","])
def test_other_labels_are_refused(monkeypatch, extension, setting):
    monkeypatch.setenv("EXTENSION_STATISTICS_LABELS", setting)
    with pytest.raises(SettingError, match=r"EXTENSION_STATISTICS_LABELS is .*: team, environment"):
        InMemoryAgent(extension)
