"""What is accepted, what is refused, and in which words: both modes, line by line."""

import json
from copy import deepcopy
from functools import reduce
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extension_kit.agent.factory import EXPERIMENT, STEP, TARGET, EventFactory
from extension_kit.events.event import Event
from extension_kit.events.names import STEADYBIT_EVENT_NAMES
from extension_kit.events.schema.modes import event_components
from extension_kit.events.schema.validation import MAX_PROBLEMS, EventValidator, Mode, Problem

DATA = Path(__file__).parents[3] / "data" / "steadybit"
VALIDATORS = {mode: EventValidator(mode) for mode in get_args(Mode)}
ABSENT = object()
SECRET = "hunter2"


def complete():
    """An event with everything in it, valid to the letter."""
    factory = EventFactory()
    return {
        **factory.event("experiment.execution.target-failed"),
        STEP: factory.event("experiment.execution.step-failed")[STEP],
        EXPERIMENT: factory.event("experiment.execution.failed", variables={"region": "eu"})[EXPERIMENT],
    }


def changed(pointer, value):
    """A complete event with one place changed, or taken away."""
    body = deepcopy(complete())
    *parents, last = pointer.split("/")[1:]
    holder = reduce(lambda inner, key: inner[key], parents, body)
    if value is ABSENT:
        del holder[last]
    else:
        holder[last] = value
    return body


def test_the_complete_event_is_valid():
    for validator in VALIDATORS.values():
        assert validator.is_valid(complete())
        assert validator.problems(complete()) == []
        assert validator.oddities(complete()) == []


REQUIRED = "is required"
OBJECT = "must be an object"
NULLABLE_OBJECT = "must be an object or null"
TEXT = "must be a string"
STATES = "must be created, prepared, running, failed, completed, canceled or errored"
PART_STATES = "must be created, prepared, running, failed, completed, canceled, errored or skipped"
TIME = "must be a date-time such as 2021-09-01T12:00:00Z"

# What agents and platforms send: the place, what stands there, what tolerant mode says of it, what strict mode says.
ROWS = [
    ("/eventName", ABSENT, REQUIRED, REQUIRED),
    ("/eventName", None, TEXT, TEXT),
    ("/eventName", 5, TEXT, TEXT),
    ("/eventName", "", "must not be empty", None),
    ("/id", ABSENT, REQUIRED, REQUIRED),
    ("/id", None, TEXT, TEXT),
    ("/id", 5, TEXT, TEXT),
    ("/id", "", "must not be empty", None),
    ("/id", "my-event-id", None, None),
    ("/eventTime", ABSENT, None, REQUIRED),
    ("/eventTime", None, None, TEXT),
    ("/eventTime", "yesterday", None, TIME),
    ("/eventTime", 1630497600, None, TEXT),
    ("/eventTime", "2021-09-01T12:00:00", None, TIME),
    ("/eventTime", "2021-02-30T12:00:00Z", None, TIME),
    ("/eventTime", "2021-09-01T12:00:00.586222005+02:00", None, None),
    ("/eventTime", "2016-12-31t23:59:60z", None, None),
    ("/eventTime", "0001-01-01T00:00:00Z", None, None),
    ("/addedLater", {"x": [1]}, None, None),
    ("/experimentExecution/addedLater", {"x": [1]}, None, None),
    ("/principal", ABSENT, None, REQUIRED),
    ("/principal", None, None, OBJECT),
    ("/principal", 5, NULLABLE_OBJECT, OBJECT),
    ("/principal", "tom", NULLABLE_OBJECT, OBJECT),
    ("/principal", [], NULLABLE_OBJECT, OBJECT),
    ("/principal", {"principalType": "robot", "username": "r2"}, None, None),
    ("/principal", {"principalType": "batch_job", "username": "cron"}, None, None),
    ("/principal", {"principalType": "user", "username": "a", "name": "A", "email": None}, None, None),
    ("/tenant", ABSENT, REQUIRED, REQUIRED),
    ("/tenant", None, OBJECT, OBJECT),
    ("/tenant", "exmpl", OBJECT, OBJECT),
    ("/tenant/key", ABSENT, None, REQUIRED),
    ("/tenant/name", None, None, TEXT),
    ("/tenant/name", 5, "must be a string or null", TEXT),
    ("/team", ABSENT, None, None),
    ("/team", None, None, OBJECT),
    ("/team", "ADM", NULLABLE_OBJECT, OBJECT),
    ("/team/id", ABSENT, None, REQUIRED),
    ("/team/name", ["x"], "must be a string or null", TEXT),
    ("/environment", None, None, OBJECT),
    ("/environment", [1], NULLABLE_OBJECT, OBJECT),
    ("/environment/id", ABSENT, None, REQUIRED),
    ("/experimentExecution", None, None, OBJECT),
    ("/experimentExecution", [], NULLABLE_OBJECT, OBJECT),
    ("/experimentExecution/hypothesis", None, None, TEXT),
    ("/experimentExecution/startedTime", ABSENT, None, REQUIRED),
    ("/experimentExecution/startedTime", None, None, TEXT),
    ("/experimentExecution/endedTime", "soon", None, TIME),
    ("/experimentExecution/state", "requested", None, STATES),
    ("/experimentExecution/state", "skipped", None, STATES),
    ("/experimentExecution/state", "COMPLETED", None, STATES),
    ("/experimentExecution/state", "", None, STATES),
    ("/experimentExecution/executionId", 42, None, None),
    ("/experimentExecution/executionId", 42.0, None, None),
    ("/experimentExecution/executionId", None, None, "must be a number"),
    ("/experimentExecution/executionId", "42", None, "must be a number"),
    ("/experimentExecution/executionId", "1" * 18, None, "must be a number"),
    ("/experimentExecution/executionId", "1" * 19, "must match ^[0-9]{1,18}$", "must be a number"),
    ("/experimentExecution/executionId", "", "must match ^[0-9]{1,18}$", "must be a number"),
    ("/experimentExecution/executionId", "0x2a", "must match ^[0-9]{1,18}$", "must be a number"),
    ("/experimentExecution/executionId", "٤٢", "must match ^[0-9]{1,18}$", "must be a number"),
    ("/experimentExecution/executionId", True, "must be a whole number, a string or null", "must be a number"),
    ("/experimentExecution/executionId", 34.5, "must be a whole number, a string or null", None),
    ("/experimentExecution/executionId", [42], "must be a whole number, a string or null", "must be a number"),
    ("/experimentExecution/tags", None, None, "must be a list"),
    ("/experimentExecution/tags", ["a", "a"], None, "must not hold an item twice"),
    ("/experimentExecution/tags", "a", "must be a list or null", "must be a list"),
    ("/experimentExecution/variables", None, None, OBJECT),
    ("/experimentExecution/variables/region", ["eu", "us"], None, TEXT),
    ("/experimentExecution/variables", ["eu"], NULLABLE_OBJECT, OBJECT),
    ("/experimentExecution/properties", {"any": {"thing": [1, None]}}, None, None),
    ("/experimentExecution/properties", None, None, OBJECT),
    ("/experimentExecution/failureReason", None, None, None),
    ("/experimentExecution/steps", [{}], None, None),
    ("/experimentStepExecution/actionKind", "BASIC", None, "must be attack, check, load_test or other"),
    ("/experimentStepExecution/type", "SERVICE-VALIDATION", None, "must be wait or action"),
    ("/experimentStepExecution/type", "", None, "must be wait or action"),
    ("/experimentStepExecution/state", "skipped", None, None),
    ("/experimentStepExecution/state", "SKIPPED", None, PART_STATES),
    ("/experimentStepExecution/id", "not-a-uuid", None, None),
    ("/experimentStepTargetExecution/state", "state", None, PART_STATES),
    ("/experimentStepTargetExecution/targetAttributes", None, None, OBJECT),
    ("/experimentStepTargetExecution/targetAttributes", {}, None, None),
    ("/experimentStepTargetExecution/targetAttributes/steadybit.label", None, None, "must be a list"),
    (
        "/experimentStepTargetExecution/targetAttributes/steadybit.label",
        "pod",
        "must be a list or null",
        "must be a list",
    ),
    ("/experimentStepTargetExecution/agentHostname", "", None, None),
]


@pytest.mark.parametrize(("pointer", "value", "tolerant", "strict"), ROWS)
def test_each_mode_says_of_a_place_what_is_wrong_with_it(pointer, value, tolerant, strict):
    body = changed(pointer, value)
    for mode, message in (("tolerant", tolerant), ("strict", strict)):
        expected = [] if message is None else [Problem(pointer, message)]
        assert VALIDATORS[mode].problems(body) == expected, mode
        assert VALIDATORS[mode].is_valid(body) is not bool(expected), mode


@pytest.mark.parametrize(("pointer", "value", "tolerant", "strict"), ROWS)
def test_an_accepted_event_can_be_read(pointer, value, tolerant, strict):
    if tolerant is None:
        event = Event.from_body(changed(pointer, value))
        for view in (event, event.experiment_execution, event.experiment_step_target_execution, event.principal):
            for name in set(dir(view)) - {"state"}:  # which is not of the body
                getattr(view, name)


PRINCIPAL = "is no UserPrincipal since {user}; no AccessTokenPrincipal since {token}; no BatchPrincipal since {batch}"
NO_USERNAME = "username is required"


@pytest.mark.parametrize(
    ("principal", "message"),
    [
        (
            {"principalType": "access_token", "id": "1", "name": "CI", "tokenType": SECRET},
            PRINCIPAL.format(user=NO_USERNAME, token="tokenType must be admin or team", batch=NO_USERNAME),
        ),
        (
            {"principalType": "access_token", "id": "1", "name": "CI"},
            PRINCIPAL.format(user=NO_USERNAME, token="tokenType is required", batch=NO_USERNAME),
        ),
        (
            {"principalType": "user", "username": 5, "name": "Tom"},
            PRINCIPAL.format(
                user="username must be a string",
                token="id is required, tokenType is required",
                batch="username must be a string",
            ),
        ),
    ],
)
def test_a_principal_that_fits_no_kind_is_explained(principal, message):
    body = changed("/principal", principal)
    assert VALIDATORS["strict"].problems(body) == [("/principal", message)]
    assert VALIDATORS["tolerant"].is_valid(body)


# Verdicts on recorded bodies: tolerant, strict.
FIXTURES = {
    "event-kit-1": (True, False),
    "event-kit-2": (True, False),
    "extension-scaffold-1": (True, False),
    "extension-datadog-1": (True, True),
    "extension-datadog-2": (True, False),
    "extension-datadog-5": (True, False),
    "extension-datadog-6": (True, False),
    "extension-newrelic-2": (False, True),
    "extension-grafana-1": (True, False),
    "docs-public-webhook-1": (False, False),
    "docs-public-webhook-2": (False, False),
    "platform-api-webhook-1": (False, False),
    "preflight-kit-1": (False, False),
    "extension-appdynamics-1": (False, False),
    "event-kit-index-1": (False, False),
    "annotation-1": (False, False),
}


@pytest.mark.parametrize("name", FIXTURES)
def test_recorded_bodies(name):
    body = json.loads((DATA / f"{name}.json").read_text())
    for mode, valid in zip(("tolerant", "strict"), FIXTURES[name], strict=True):
        assert VALIDATORS[mode].is_valid(body) is valid
        assert (VALIDATORS[mode].problems(body) == []) is valid


def test_every_problem_of_the_documented_example_is_named_in_strict_mode():
    body = json.loads((DATA / "event-kit-1.json").read_text())
    assert VALIDATORS["strict"].problems(body) == [
        ("/experimentExecution/hypothesis", REQUIRED),
        ("/experimentExecution/state", STATES),
        ("/team/id", REQUIRED),
    ]


def test_several_problems_of_one_place_are_all_named():
    assert VALIDATORS["strict"].problems(changed("/experimentExecution/state", 5)) == [
        ("/experimentExecution/state", TEXT),
        ("/experimentExecution/state", STATES),
    ]


@pytest.mark.parametrize("name", STEADYBIT_EVENT_NAMES)
def test_made_up_events_are_valid_to_the_letter(name):
    assert VALIDATORS["strict"].problems(EventFactory().event(name)) == []


@pytest.mark.parametrize("value", [None, 5, "x", [], True])
def test_what_is_no_object_is_refused(value):
    for validator in VALIDATORS.values():
        assert not validator.is_valid(value)
        assert validator.problems(value) == [("", OBJECT)]


def test_pointers_are_escaped_and_bounded():
    body = changed("/experimentExecution/variables", {"a/b~c": 1, "k" * 300: 2})
    assert VALIDATORS["strict"].problems(body) == [
        ("/experimentExecution/variables/a~1b~0c", TEXT),
        (f"/experimentExecution/variables/{'k' * 200}...", TEXT),
    ]


def test_what_was_sent_is_never_repeated():
    body = complete()
    body["eventTime"] = body["experimentExecution"]["state"] = body["principal"] = body["team"] = SECRET
    body["experimentExecution"]["tags"] = [SECRET, SECRET, {"a": SECRET}]
    body["experimentStepExecution"] = {"type": SECRET, "executionId": SECRET, "id": [SECRET]}
    body["experimentStepTargetExecution"]["targetAttributes"]["x"] = SECRET
    for validator in VALIDATORS.values():
        problems = validator.problems(body)
        assert problems
        assert SECRET not in str(problems)


# A list of all their errors would take the validator minutes to make.
@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("pointer", "make"),
    [
        ("/experimentExecution/tags", lambda: [5] * 4_000_000),
        ("/experimentExecution/variables", lambda: {str(key): 5 for key in range(500_000)}),
        ("/experimentStepTargetExecution/targetAttributes", lambda: {str(key): [5] * 30 for key in range(50_000)}),
    ],
)
def test_problems_are_bounded_in_number_and_time(pointer, make):
    problems = VALIDATORS["strict"].problems(changed(pointer, make()))
    assert len(set(problems)) == len(problems) == MAX_PROBLEMS


@pytest.mark.parametrize("key", ["", "name", "key"])
def test_no_key_seems_to_be_missing_from_a_large_event(key):
    body = {f"{key}{number}": number for number in range(5000)} | complete()
    body["experimentExecution"] = {f"{key}{number}": 1 for number in range(5000)} | body["experimentExecution"]
    body["id"] = 5
    assert VALIDATORS["strict"].problems(body) == [("/id", TEXT)]


def test_a_single_problem_deep_in_a_large_event_is_found():
    tags = [str(number) for number in range(20_000)]
    assert VALIDATORS["strict"].problems(changed("/experimentExecution/tags", [*tags, 5])) == [
        ("/experimentExecution/tags/20000", TEXT)
    ]
    assert VALIDATORS["strict"].problems(changed("/experimentExecution/tags", [*tags, "0"])) == [
        ("/experimentExecution/tags", "must not hold an item twice")
    ]


def nested(levels, kind):
    value = "x"
    for _ in range(levels):
        value = [value] if kind is list else {"name": value}
    return value


PLACES = [f"/{key}" for key in event_components("strict")["EventRequestBody"]["properties"]] + [
    f"/{part}/{key}"
    for part, name in ((EXPERIMENT, "ExperimentExecution"), (TARGET, "ExperimentStepTargetExecution"))
    for key in event_components("strict")[name]["properties"]
]


@pytest.mark.parametrize("mode", VALIDATORS)
@pytest.mark.parametrize("pointer", PLACES)
def test_deep_nesting_is_judged_like_anything_else(pointer, mode):
    validator = VALIDATORS[mode]
    for kind in (list, dict):
        body = changed(pointer, [nested(200, kind), nested(200, kind)])
        deeper = changed(pointer, [nested(1000, kind), nested(1000, kind)])
        assert validator.is_valid(body) is validator.is_valid(deeper)
        assert validator.problems(body) == validator.problems(deeper)
        assert validator.is_valid(deeper) is not bool(validator.problems(deeper))


def test_items_too_deep_to_be_compared_are_a_problem():
    tags = [*map(str, range(2000)), nested(1000, list), nested(1000, list)]
    assert VALIDATORS["strict"].problems(changed("/experimentExecution/tags", tags)) == [("", "is nested too deeply")]


ODD_TIME = "eventTime is missing or not a date-time"
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


@pytest.mark.parametrize(
    ("pointer", "value", "oddities"),
    [
        ("/eventTime", ABSENT, [ODD_TIME]),
        ("/eventTime", "yesterday", [ODD_TIME]),
        ("/eventTime", 5, [ODD_TIME]),
        ("/eventTime", "0001-01-01T00:00:00Z", [ODD_TIME]),
        ("/eventTime", "2021-09-01t12:00:00z", []),
        (
            "/experimentStepTargetExecution/executionId",
            "42",
            ["executionId of experimentStepTargetExecution is a string instead of a number"],
        ),
        ("/experimentStepTargetExecution/executionId", None, []),
        (
            "/experimentStepTargetExecution",
            None,
            ["experimentStepTargetExecution is missing, although the event name refers to it"],
        ),
        ("/experimentExecution", ABSENT, []),
        ("/experimentStepTargetExecution", {}, []),
    ],
)
def test_what_is_accepted_with_a_warning(pointer, value, oddities):
    body = changed(pointer, value)
    assert VALIDATORS["tolerant"].is_valid(body)
    assert VALIDATORS["tolerant"].oddities(body) == oddities


@pytest.mark.parametrize(
    ("name", "about"),
    [
        ("experiment.execution.failed", "experimentExecution"),
        ("experiment.execution.step-failed", "experimentStepExecution"),
        ("experiment.execution.target-failed", "experimentStepTargetExecution"),
        ("experiment.execution.added-later", "experimentExecution"),
        ("experiment.execution.step-added-later", "experimentStepExecution"),
        ("experiment.execution", None),
        ("experiment.created", None),
        ("killswitch.engaged", None),
        ("user.invited", None),
        ("x", None),
    ],
)
def test_what_an_event_is_about_should_be_in_it(name, about):
    body = EventFactory().event("killswitch.engaged") | {"eventName": name}
    assert [oddity.partition(" ")[0] for oddity in EventValidator.oddities(body)] == [about] * bool(about)


def schema_strategy(components, schema):
    """Make values that fit a schema of ours."""
    match schema:
        case {"$ref": reference}:
            return schema_strategy(components, components[reference.rpartition("/")[2]])
        case {"anyOf": alternatives}:
            return st.one_of([schema_strategy(components, alternative) for alternative in alternatives])
        case {"enum": values}:
            return st.sampled_from(values)
        case {"format": "date-time"}:
            return st.datetimes().map(lambda time: f"{time.isoformat()}Z")
        case {"type": "object"}:
            required = set(schema.get("required", ()))
            keys = {key: schema_strategy(components, inner) for key, inner in schema.get("properties", {}).items()}
            if not keys:
                return st.dictionaries(st.text(), schema_strategy(components, schema["additionalProperties"]))
            optional = {key: values for key, values in keys.items() if key not in required}
            return st.fixed_dictionaries({key: keys[key] for key in keys if key in required}, optional=optional)
        case {"type": "array"}:
            return st.lists(schema_strategy(components, schema["items"]), unique="uniqueItems" in schema, max_size=3)
        case {"type": "number"}:
            return st.integers() | st.integers(min_value=-(10**6), max_value=10**6).map(float)
        case {"type": "string"}:
            return st.text()
        case {}:
            return JSON
    raise AssertionError(f"no strategy for {schema}")


STRICT = event_components("strict")


@settings(max_examples=150, deadline=None)
@given(body=schema_strategy(STRICT, STRICT["EventRequestBody"]))
def test_tolerant_mode_accepts_what_the_specification_allows(body):
    assert VALIDATORS["strict"].problems(body) == []
    nothing_to_route_by = {"/id", "/eventName"} & {f"/{key}" for key in ("id", "eventName") if not body[key]}
    assert {problem.pointer for problem in VALIDATORS["tolerant"].problems(body)} == nothing_to_route_by


@settings(max_examples=200, deadline=None)
@given(pointer=st.sampled_from(PLACES), value=JSON)
def test_whatever_is_sent_is_either_valid_or_has_problems(pointer, value):
    body = changed(pointer, value)
    for validator in VALIDATORS.values():
        problems = validator.problems(body)
        assert validator.is_valid(body) is (problems == [])
        assert all(problem.pointer.startswith(pointer) and problem.message for problem in problems)
