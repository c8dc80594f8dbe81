import json
import re
from collections import Counter
from datetime import UTC, datetime
from itertools import chain, groupby, islice
from uuid import UUID

import pytest

from extension_kit.agent.factory import EXPERIMENT, PART_KEYS, STEP, TARGET
from extension_kit.events.event import Event
from extension_kit.events.names import STEADYBIT_EVENT_NAMES
from extension_kit.events.principals import AccessTokenPrincipal, BatchPrincipal, UserPrincipal
from extension_kit.events.schema.modes import event_components
from extension_kit.events.schema.validation import EventValidator
from extension_kit.testing import EventFactory

PREFIX = "experiment.execution."
PARTS = (EXPERIMENT, STEP, TARGET)
OUTCOMES = ("completed", "failed", "errored", "canceled")
STRICT = EventValidator("strict")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")

# What the EventKit specification requires, written down once more so as not to go by the kit's own schema.
REQUIRED = {
    "": {"id", "eventName", "eventTime", "principal", "tenant"},
    "tenant": {"key", "name"},
    "team": {"id", "key", "name"},
    "environment": {"id", "name"},
    EXPERIMENT: {"experimentKey", "executionId", "name", "hypothesis", "preparedTime", "startedTime", "state"},
    STEP: {"experimentKey", "executionId", "id", "type", "state"},
    TARGET: {
        "experimentKey",
        "executionId",
        "stepExecutionId",
        "id",
        "state",
        "agentHostname",
        "targetName",
        "targetType",
        "targetAttributes",
    },
}
STATES = {"created", "prepared", "running", "failed", "completed", "canceled", "errored"}


def parts(body):
    return [part for part in PARTS if part in body]


def assert_valid(body):
    assert STRICT.problems(body) == []
    assert body["eventName"] in STEADYBIT_EVENT_NAMES
    assert str(UUID(body["id"])) == body["id"]
    for name, required in REQUIRED.items():
        found = body if not name else body.get(name)
        assert found is None or required <= found.keys(), name
    for part in parts(body):
        assert body[part]["state"] in STATES | ({"skipped"} if part != EXPERIMENT else set())
        assert isinstance(body[part]["executionId"], int)
        times = [body[part].get(key) for key in ("preparedTime", "startedTime", "endedTime")]
        known = [time for time in [*times, body["eventTime"]] if time]
        assert all(TIME.fullmatch(time) for time in known)
        assert known == sorted(known)
    assert json.loads(json.dumps(body)) == body


@pytest.mark.parametrize("name", STEADYBIT_EVENT_NAMES)
@pytest.mark.parametrize("seed", range(8))
def test_an_event_of_every_name_is_valid_and_has_the_object_and_state_of_its_name(name, seed):
    body = EventFactory(seed).event(name)
    assert_valid(body)
    assert body["eventName"] == name
    word = name.removeprefix(PREFIX)
    if word == name:
        assert parts(body) == []
        assert "team" not in body
        assert "environment" not in body
        return
    family, _, suffix = word.rpartition("-")
    assert parts(body) == [{"": EXPERIMENT, "step": STEP, "target": TARGET}[family]]
    content = body[parts(body)[0]]
    assert content["state"] == {"requested": "created", "started": "running"}.get(suffix, suffix)
    assert ("endedTime" in content) is (suffix in OUTCOMES)
    assert ("reason" in content) is (suffix in OUTCOMES[1:] and family != "step")
    assert content["experimentKey"].split("-")[0] == body["team"]["key"]


@pytest.mark.parametrize("state", sorted(STATES))
@pytest.mark.parametrize("name", [PREFIX + "created", PREFIX + "step-started", PREFIX + "target-completed"])
def test_a_state_of_ones_own_brings_what_belongs_to_it(name, state):
    body = EventFactory().event(name, state=state)
    assert_valid(body)
    (part,) = parts(body)
    assert body[part]["state"] == state
    assert ("endedTime" in body[part]) is (state in OUTCOMES)


@pytest.mark.parametrize(
    ("name", "changes", "where", "value"),
    [
        ("killswitch.engaged", {"id": "mine"}, ("id",), "mine"),
        (PREFIX + "failed", {"id": "mine"}, ("id",), "mine"),
        (PREFIX + "failed", {"event_time": "2020-01-01T00:00:00Z"}, ("eventTime",), "2020-01-01T00:00:00Z"),
        (PREFIX + "failed", {"state": "FAILED"}, (EXPERIMENT, "state"), "FAILED"),
        (PREFIX + "failed", {"name": "Mine"}, (EXPERIMENT, "name"), "Mine"),
        (PREFIX + "failed", {"experiment_key": "SHOP-7"}, (EXPERIMENT, "experimentKey"), "SHOP-7"),
        (PREFIX + "failed", {"execution_id": 42}, (EXPERIMENT, "executionId"), 42),
        (PREFIX + "failed", {"variables": {"a": "b"}}, (EXPERIMENT, "variables"), {"a": "b"}),
        (PREFIX + "failed", {"reason_details": "why"}, (EXPERIMENT, "reasonDetails"), "why"),
        (PREFIX + "step-failed", {"custom_label": "Mine"}, (STEP, "customLabel"), "Mine"),
        (PREFIX + "step-failed", {"type": "wait"}, (STEP, "type"), "wait"),
        (PREFIX + "target-failed", {"step_execution_id": "s"}, (TARGET, "stepExecutionId"), "s"),
        (PREFIX + "target-failed", {"target_attributes": {"k": ["v"]}}, (TARGET, "targetAttributes"), {"k": ["v"]}),
        (PREFIX + "failed", {"experiment_execution": {"name": "Mine"}}, (EXPERIMENT, "name"), "Mine"),
        (PREFIX + "step-failed", {"experiment_step_execution": {"id": "s"}}, (STEP, "id"), "s"),
        (PREFIX + "failed", {"team": {"key": "X"}}, ("team", "key"), "X"),
        (PREFIX + "failed", {"tenant": "not an object"}, ("tenant",), "not an object"),
        ("killswitch.engaged", {"team": {"key": "X"}}, ("team", "key"), "X"),
    ],
)
def test_a_keyword_sets_the_key_where_it_belongs_and_nothing_else(name, changes, where, value):
    body, plain = EventFactory().event(name, **changes), EventFactory().event(name)
    *path, key = where
    holder = body
    for step in path:
        holder = holder[step]
    assert holder[key] == value
    if len(changes) == 1 and name != "killswitch.engaged" and "state" not in changes:
        for step in path:
            plain = plain[step]
        assert {**plain, key: value} == holder


def test_what_is_merged_stays_valid():
    body = EventFactory().event(
        PREFIX + "failed", team={"key": "X"}, environment={"name": "Moon"}, tenant={"name": "Us"}, tags=["a"]
    )
    assert_valid(body)
    assert_valid(EventFactory().event("killswitch.engaged", team={"key": "X"}, environment={"name": "Moon"}))


@pytest.mark.parametrize(
    ("kind", "view"),
    [("user", UserPrincipal), ("access_token", AccessTokenPrincipal), ("batch_job", BatchPrincipal)],
)
@pytest.mark.parametrize("seed", range(3))
def test_a_principal_of_another_kind_is_a_whole_one(kind, view, seed):
    body = EventFactory(seed).event(PREFIX + "created", principal={"principalType": kind})
    assert_valid(body)
    assert type(Event.from_body(body).principal) is view
    assert len(body["principal"]) > 1


def test_a_principal_of_an_unknown_kind_is_made_too():
    body = EventFactory().event(PREFIX + "created", principal={"principalType": "robot", "name": "R2"})
    assert body["principal"] == {"principalType": "robot", "name": "R2"}


def test_none_leaves_a_key_out():
    body = EventFactory().event(PREFIX + "failed", team=None, hypothesis=None, reason=None, environment={"id": None})
    assert "team" not in body
    assert body[EXPERIMENT].keys().isdisjoint({"hypothesis", "reason"})
    assert set(body["environment"]) == {"name"}
    assert "id" not in EventFactory().event("user.invited", id=None)
    assert EXPERIMENT not in EventFactory().event(PREFIX + "failed", experiment_execution=None)


@pytest.mark.parametrize(
    ("name", "keyword", "hint"),
    [
        (PREFIX + "failed", "stat", "did you mean state"),
        (PREFIX + "failed", "experimentKey", "did you mean experiment_key"),
        (PREFIX + "failed", "target_name", f"'target_name' is not a key of {PREFIX}failed"),
        (PREFIX + "step-failed", "reason", f"'reason' is not a key of {PREFIX}step-failed"),
        ("killswitch.engaged", "state", "'state' is not a key of killswitch.engaged"),
        ("killswitch.engaged", "zzz", "'zzz' is not a key of killswitch.engaged"),
    ],
)
def test_an_unknown_keyword_is_refused_with_near_ones(name, keyword, hint):
    with pytest.raises(TypeError, match=re.escape(hint)):
        EventFactory().event(name, **{keyword: "x"})


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("experiment.execution.faild", "did you mean experiment.execution.failed"),
        ("killswitch.on", "did you mean killswitch."),
        ("*", "is not an event name"),
        ("", "is not an event name"),
    ],
)
def test_an_unknown_name_is_refused_with_near_ones(name, hint):
    with pytest.raises(ValueError, match=re.escape(hint)):
        EventFactory().event(name)


def test_the_keys_are_those_of_the_published_schema():
    schemas = event_components("strict")
    for part in PARTS:
        assert set(PART_KEYS[part]) == set(schemas[part[0].upper() + part[1:]]["properties"])


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("seed", range(10))
def test_a_run_tells_one_coherent_story(outcome, seed):
    run = list(EventFactory(seed).run(outcome=outcome, steps=3))
    for body in run:
        assert_valid(body)
    words = [body["eventName"].removeprefix(PREFIX) for body in run]
    assert words[:2] == ["requested", "created"]
    assert words[-1] == outcome
    assert len({body["id"] for body in run}) == len(run)
    times = [body["eventTime"] for body in run]
    assert times == sorted(set(times))
    for key in ("tenant", "team", "environment", "principal"):
        assert all(body[key] == run[0][key] for body in run)
    contents = [body[parts(body)[0]] for body in run]
    assert len({(content["experimentKey"], content["executionId"]) for content in contents}) == 1

    steps = [body for body in run if STEP in body]
    for step_id, bodies in groupby(steps, key=lambda body: body[STEP]["id"]):
        states = [body[STEP]["state"] for body in bodies]
        assert states == ["skipped"] or (len(states) == 2 and states[0] == "running"), step_id
    assert len({body[STEP]["id"] for body in steps}) == 3
    ends = [body[STEP]["state"] for body in steps if body[STEP]["state"] != "running"]
    assert [end for end in ends if end not in ("completed", "skipped")] == ([] if outcome == "completed" else [outcome])
    assert ends == sorted(ends, key=["completed", outcome, "skipped"].index)


@pytest.mark.parametrize("seed", range(10))
def test_targets_belong_to_a_step_under_way(seed):
    running: set[str] = set()
    started: dict[str, str] = {}
    for body in EventFactory(seed).runs(5):
        if STEP in body:
            (running.add if body[STEP]["state"] == "running" else running.discard)(body[STEP]["id"])
        if TARGET in body:
            target = body[TARGET]
            assert target["stepExecutionId"] in running
            if target["state"] == "running":
                started[target["id"]] = target["targetName"]
            else:
                assert started.pop(target["id"]) == target["targetName"]
    assert not started
    assert not running


def test_runs_are_varied_and_look_real():
    bodies = list(EventFactory().runs(80))
    names = Counter(body["eventName"] for body in bodies)
    assert names.keys() == {name for name in STEADYBIT_EVENT_NAMES if name.startswith(PREFIX)}
    assert {body["principal"]["principalType"] for body in bodies} == {"user", "access_token", "batch_job"}
    experiments = [body[EXPERIMENT] for body in bodies if EXPERIMENT in body]
    for key in ("tags", "variables", "properties"):
        assert {key in experiment for experiment in experiments} == {True, False}
    steps = [body[STEP] for body in bodies if STEP in body]
    assert {step["type"] for step in steps} == {"wait", "action"}
    assert {step.get("actionKind") for step in steps} == {None, "attack", "check", "load_test", "other"}
    attributes = [body[TARGET]["targetAttributes"] for body in bodies if TARGET in body]
    assert all(len(one["steadybit.label"]) == 1 for one in attributes)
    assert any("k8s.cluster-name" in one for one in attributes)
    assert any(len(values) > 1 for one in attributes for values in one.values())
    assert len({experiment["executionId"] for experiment in experiments}) == 80


@pytest.mark.parametrize("count", [1, 2, 5])
def test_whoever_listens_to_failures_gets_one_whatever_the_seed(count):
    for seed in range(200):
        names = [body["eventName"] for body in EventFactory(seed).runs(count)]
        assert PREFIX + "failed" in names, seed
        assert count == 1 or PREFIX + "completed" in names, seed


def test_more_runs_begin_as_fewer_do():
    assert list(EventFactory(3).runs(2)) == list(chain.from_iterable(islice(EventFactory(3).apart(), 2)))
    two = list(EventFactory(3).runs(2))
    assert list(EventFactory(3).runs(5))[: len(two)] == two


def test_a_principal_of_each_kind_starts_one_of_three_runs():
    factory = EventFactory()
    kinds = [next(factory.run())["principal"]["principalType"] for _ in range(6)]
    assert kinds == ["user", "access_token", "batch_job"] * 2


def test_equal_seeds_make_equal_events_and_others_make_others():
    def events(seed):
        return [*EventFactory(seed).runs(5), EventFactory(seed).event("user.invited")]

    assert events(7) == events(7)
    assert events(7) != events(8)
    assert {body["id"] for body in events(7)}.isdisjoint(body["id"] for body in events(8))


def test_ids_are_never_repeated():
    factory = EventFactory()
    ids = [factory.event("user.invited")["id"] for _ in range(10)] + [body["id"] for body in factory.runs(10)]
    assert len(set(ids)) == len(ids)


def test_time_begins_where_it_is_told_to():
    start = datetime(2030, 5, 6, 7, 8, tzinfo=UTC)
    body = EventFactory(start=start).event("user.invited")
    assert start < datetime.fromisoformat(body["eventTime"])
    assert body["eventTime"].startswith("2030-05-06T07:")


def test_changing_an_event_changes_no_other():
    run = list(EventFactory().run())
    run[0]["tenant"]["name"] = run[0][EXPERIMENT]["name"] = "changed"
    run[0]["team"].clear()
    assert "changed" not in json.dumps(run[1:])
    assert run[1]["team"]


def test_a_number_of_events_is_whole_runs_but_for_the_last():
    assert list(EventFactory(3).events(100)) == list(islice(EventFactory(3).runs(100), 100))
    assert list(EventFactory().events(0)) == []


@pytest.mark.parametrize("steps", [1, 2, 9])
def test_the_number_of_steps_is_as_asked_for(steps):
    run = EventFactory().run(outcome="completed", steps=steps)
    assert len({body[STEP]["id"] for body in run if STEP in body}) == steps


@pytest.mark.parametrize("wrong", [{"outcome": "skipped"}, {"outcome": ""}, {"steps": 0}, {"steps": -1}])
def test_a_run_that_cannot_be_is_refused_at_once(wrong):
    with pytest.raises(ValueError, match="1 or more steps"):
        EventFactory().run(**wrong)
