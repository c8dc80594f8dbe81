from datetime import UTC, datetime, timedelta

import pytest

from extension_kit import AccessTokenPrincipal, BatchPrincipal, Event, Principal, UserPrincipal

BODY = {
    "id": "da059724-a8ae-4b4b-b4f0-ee01898232d2",
    "eventName": "experiment.execution.completed",
    "eventTime": "2021-09-01T12:00:00Z",
    "tenant": {"key": "exmpl", "name": "Example Inc."},
    "principal": {"principalType": "user", "username": "tom.mason", "name": "Tom Mason", "email": "t@example.com"},
    "environment": {"id": "STG", "name": "Staging"},
    "team": {"key": "ADM", "name": "Administrators"},
    "experimentExecution": {
        "experimentKey": "ADM-4",
        "executionId": 34,
        "name": "Rollout restart",
        "state": "COMPLETED",
        "preparedTime": "2022-11-08T16:42:32.303762Z",
        "startedTime": "2022-11-08T16:42:32.329718Z",
        "endedTime": "2022-11-08T16:42:42.636157999Z",
        "tags": ["a", "b"],
        "variables": {"one": "1", "many": ["1", "2"]},
    },
}


def event(**changes):
    return Event.from_body({**BODY, **changes})


def run(**changes):
    return event(experimentExecution={**BODY["experimentExecution"], **changes}).experiment_execution


def test_the_envelope():
    it = event()
    assert (it.id, it.name, it.source, it.subject) == (BODY["id"], BODY["eventName"], "steadybit", "ADM-4/34")
    assert it.time == datetime(2021, 9, 1, 12, tzinfo=UTC)
    assert (it.tenant.key, it.tenant.name) == ("exmpl", "Example Inc.")
    assert (it.team.id, it.team.key, it.team.name) == (None, "ADM", "Administrators")
    assert (it.environment.id, it.environment.name) == ("STG", "Staging")


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


@pytest.mark.parametrize(
    ("body", "kind", "name"),
    [
        ({"principalType": "user", "username": "u", "name": "n"}, UserPrincipal, "n"),
        ({"principalType": "USER", "username": "u"}, UserPrincipal, "u"),
        ({"principalType": "access_token", "id": "i", "name": "n", "tokenType": "ADMIN"}, AccessTokenPrincipal, "n"),
        ({"principalType": "batch_job", "username": "b"}, BatchPrincipal, "b"),
        ({"principalType": "robot", "id": "r"}, Principal, "r"),
        ({"principalType": 5}, Principal, None),
        ({}, Principal, None),
    ],
)
def test_the_principal_is_of_the_type_it_names(body, kind, name):
    principal = event(principal=body).principal
    assert type(principal) is kind
    assert principal.display_name == name
    assert principal.raw == body


def test_a_token_type_is_folded():
    assert event(principal={"principalType": "access_token", "tokenType": "ADMIN"}).principal.token_type == "admin"


@pytest.mark.parametrize("key", ["experimentKey", "executionId"])
def test_a_subject_needs_both_its_parts(key):
    assert event(experimentExecution={**BODY["experimentExecution"], key: None}).subject is None


def test_what_is_not_there_is_none():
    it = Event.from_body({"id": "1", "eventName": "killswitch.engaged", "principal": None})
    assert it.time is it.tenant is it.team is it.environment is it.principal is it.subject is None
    assert it.experiment_execution is it.experiment_step_execution is it.experiment_step_target_execution is None
    assert it.remaining_time is None


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


@pytest.mark.parametrize(
    ("name", "families"),
    [
        ("experiment.execution.completed", {"experiment"}),
        ("experiment.execution.step-started", {"step"}),
        ("experiment.execution.target-failed", {"target"}),
        ("killswitch.engaged", {"killswitch"}),
        ("user.invited", set()),
        ("", set()),
    ],
)
def test_families(name, families):
    it = event(eventName=name)
    flags = {"experiment": it.is_experiment, "step": it.is_step, "target": it.is_target, "killswitch": it.is_killswitch}
    assert {family for family, flag in flags.items() if flag} == families


@pytest.mark.parametrize("attribute", ["name", "raw", "tenant", "_data", "new"])
def test_events_are_read_only(attribute):
    it = event()
    with pytest.raises(AttributeError, match="read-only"):
        setattr(it, attribute, 1)
    with pytest.raises(AttributeError, match="read-only"):
        delattr(it, attribute)
    with pytest.raises(AttributeError, match="read-only"):
        setattr(it.tenant, attribute, 1)


def test_changing_what_was_handed_out_changes_nothing():
    it = event()
    it.raw["id"] = "changed"
    it.experiment_execution.raw["name"] = "changed"
    it.experiment_execution.variables["many"].append("3")
    assert it.raw == BODY
    assert it.experiment_execution.variables["many"] == ["1", "2"]


def test_the_body_is_untouched():
    body = b' { "eventName" : "a", "id":"1", "x": null } '
    assert Event.from_body(body).body is body
    assert Event.from_body(body).raw == {"eventName": "a", "id": "1", "x": None}


def test_events_and_views_are_compared_by_content():
    assert event() == event()
    assert event() != event(id="other")
    assert event().team == event().team
    assert event().team != event().tenant


def test_an_event_says_what_it_is():
    assert repr(event()) == f"Event(name='experiment.execution.completed', id='{BODY['id']}')"
