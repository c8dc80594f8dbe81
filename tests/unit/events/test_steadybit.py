from datetime import UTC, datetime, timedelta

import pytest

from tests.support.events import BODY, event


def run(**changes):
    return event(experimentExecution={**BODY["experimentExecution"], **changes}).experiment_execution


def test_an_experiment_execution():
    it = event().experiment_execution
    assert (it.experiment_key, it.execution_id, it.name, it.state) == ("ADM-4", 34, "Rollout restart", "completed")
    assert it.raw["state"] == "COMPLETED"
    assert it.hypothesis is None
    assert it.ended_time == datetime(2022, 11, 8, 16, 42, 42, 636157, tzinfo=UTC)
    assert it.duration == timedelta(seconds=10, microseconds=306439)
    assert it.tags == ("a", "b")
    assert it.variables == {"one": "1", "many": ["1", "2"]}
    assert it.properties == {}


@pytest.mark.parametrize(
    ("changes", "duration"),
    [
        ({"endedTime": None}, None),
        ({"endedTime": "0001-01-01T00:00:00Z"}, None),
        ({"startedTime": None}, timedelta(seconds=10, microseconds=332395)),
        ({"startedTime": "0001-01-01T00:00:00Z"}, timedelta(seconds=10, microseconds=332395)),
        ({"startedTime": None, "preparedTime": None}, None),
    ],
)
def test_the_duration_needs_both_ends(changes, duration):
    assert run(**changes).duration == duration


@pytest.mark.parametrize(("sent", "read"), [(42, 42), (42.0, 42), ("42", 42), (None, None), (2**53 + 1, 2**53 + 1)])
def test_execution_ids_are_whole_numbers(sent, read):
    assert run(executionId=sent).execution_id == read
    assert not isinstance(run(executionId=sent).execution_id, float)


def step(**fields):
    return event(experimentStepExecution=fields).experiment_step_execution


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"customLabel": "l", "actionName": "n", "actionId": "i"}, "l"),
        ({"customLabel": "", "actionName": "n", "actionId": "i"}, "n"),
        ({"customLabel": None, "actionId": "i", "type": "action"}, "i"),
        ({"type": "WAIT"}, "wait"),
        ({}, None),
    ],
)
def test_the_name_people_call_a_step(fields, name):
    assert step(**fields).display_name == name


def test_a_step():
    it = step(id="s", executionId=1, experimentKey="A-1", type="ACTION", actionKind="ATTACK", state="skipped")
    assert (it.id, it.execution_id, it.experiment_key, it.type, it.action_kind, it.state) == (
        "s", 1, "A-1", "action", "attack", "skipped",
    )  # fmt: skip


def target(**fields):
    return event(experimentStepTargetExecution=fields).experiment_step_target_execution


@pytest.mark.parametrize(
    ("fields", "label"),
    [
        ({"targetAttributes": {"steadybit.label": ["l"]}, "targetName": "n"}, "l"),
        ({"targetAttributes": {"steadybit.label": []}, "targetName": "n"}, "n"),
        ({"targetAttributes": {"steadybit.label": None}, "targetName": "n"}, "n"),
        ({"targetAttributes": None, "targetName": "n"}, "n"),
        ({"targetName": "n"}, "n"),
        ({}, None),
    ],
)
def test_the_name_people_call_a_target(fields, label):
    assert target(**fields).label == label


def test_target_attributes_are_lists():
    assert target(targetAttributes={"a": ["1", "2"], "b": None}).target_attributes == {"a": ["1", "2"], "b": []}
    assert target(targetAttributes=None).target_attributes == {}
