"""The schemas are the specification's: neither laxer nor stricter, and marshmallow agrees with the documents."""

import json
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path

import jsonschema_rs
import pytest
import yaml
from jsonschema_rs.canonical import Containment
from marshmallow import Schema, ValidationError

from extension_kit.agent.factory import EventFactory
from extension_kit.events.names import STEADYBIT_EVENT_NAMES
from extension_kit.events.schema.bodies import BatchPrincipal, EventListenerList, EventRequestBody, UserPrincipal
from extension_kit.events.schema.fields import AnyOf, DateTime, UniqueItems
from extension_kit.events.schema.guard import json_schema_components
from extension_kit.events.schema.openapi import REFERENCE, event_components
from extension_kit.events.schema.validation import EventValidator

DATA = Path(__file__).parents[3] / "data"
SPECIFICATION = yaml.safe_load((DATA / "event-kit-specification.yaml").read_text())["components"]["schemas"]


def whole(components, name):
    """A schema together with those it refers to."""
    return {"$ref": f"{REFERENCE}{name}", "components": {"schemas": components}}


def equal(ours, specification, name):
    """Whether two schemas are proven to accept the same values."""
    one, other = (
        jsonschema_rs.canonicalize(whole(components, name), validate_formats=True)
        for components in (ours, specification)
    )
    return one.covers(other) == other.covers(one) == Containment.YES


@pytest.mark.parametrize("name", event_components("strict"))
def test_strict_components_are_the_specification(name):
    assert equal(event_components("strict"), SPECIFICATION, name)


def test_every_object_of_the_specification_is_there():
    ours = {*event_components("strict"), *json_schema_components(EventListenerList)}
    assert ours == SPECIFICATION.keys() - {"Principal"}, "which stands where it is used"


@pytest.mark.parametrize(
    "drift",
    [
        lambda schemas: schemas["Team"]["required"].remove("id"),
        lambda schemas: schemas["Team"]["required"].append("description"),
        lambda schemas: schemas["Team"]["properties"].pop("key"),
        lambda schemas: schemas["ExperimentExecution"]["properties"]["state"]["enum"].append("skipped"),
        lambda schemas: schemas["ExperimentStepExecution"]["properties"]["state"]["enum"].remove("skipped"),
        lambda schemas: schemas["ExperimentExecution"]["properties"]["startedTime"].pop("format"),
        lambda schemas: schemas["ExperimentExecution"]["properties"]["tags"].pop("uniqueItems"),
        lambda schemas: schemas["ExperimentExecution"]["properties"]["variables"].update(additionalProperties={}),
        lambda schemas: schemas["ExperimentExecution"]["properties"]["executionId"].update(type="integer"),
        lambda schemas: schemas["EventRequestBody"]["properties"]["principal"]["anyOf"].pop(),
        lambda schemas: schemas["Tenant"].update(additionalProperties=False),
        lambda schemas: schemas["Tenant"].update(type=["object", "null"]),
    ],
)
def test_a_drift_from_the_specification_is_noticed(drift):
    drifted = event_components("strict")
    drift(drifted)
    assert not equal(drifted, SPECIFICATION, "EventRequestBody")


def test_components_are_made_anew_each_time():
    changed, untouched = event_components("tolerant"), deepcopy(event_components("tolerant"))
    changed["ExperimentExecution"]["properties"]["executionId"]["type"].clear()
    changed["EventRequestBody"]["properties"]["principal"]["anyOf"].clear()
    assert event_components("tolerant") == untouched


def test_an_event_listener_differs_from_the_specification_as_announced():
    ours = json_schema_components(EventListenerList)["EventListener"]
    assert not equal({"EventListener": ours}, SPECIFICATION, "EventListener")

    announced = deepcopy(SPECIFICATION["EventListener"])
    announced["properties"]["restrictTo"] = {"type": "string"}  # gone from the specification, kept by the documentation
    announced["properties"]["method"]["enum"] = ["POST", "PUT", "DELETE"]  # as every extension writes them
    assert equal({"EventListener": ours}, {"EventListener": announced}, "EventListener")
    assert ours["properties"]["restrictTo"]["default"] == "leader"


@pytest.mark.parametrize(
    ("name", "valid"),
    [
        ("event-kit-index-1.json", True),
        ("event-kit-index-2.json", True),
        ("extension-scaffold-index.json", True),
        ("extension-debug-index.json", False),  # null instead of a list
        ("event-kit-1.json", False),
    ],
)
def test_registration_documents(name, valid):
    document = json.loads((DATA / "steadybit" / name).read_text())
    components = json_schema_components(EventListenerList)
    assert jsonschema_rs.is_valid(whole(components, "EventListenerList"), document) is valid
    assert (EventListenerList().validate(document) == {}) is valid


BODIES = sorted((DATA / "steadybit").glob("*.json"))


@pytest.mark.parametrize("path", BODIES, ids=[path.stem for path in BODIES])
def test_marshmallow_and_the_strict_document_agree_on_recorded_bodies(path):
    body = json.loads(path.read_text())
    assert EventValidator("strict").is_valid(body) is (EventRequestBody().validate(body) == {})


@pytest.mark.parametrize("name", STEADYBIT_EVENT_NAMES)
def test_marshmallow_loads_every_kind_of_event(name):
    body = EventFactory().event(name)
    loaded = EventRequestBody().load(body)
    assert loaded["event_name"] == name
    assert loaded["event_time"] == datetime.fromisoformat(body["eventTime"])
    assert loaded["tenant"] == body["tenant"]


def test_keys_that_the_platform_adds_are_kept():
    body = EventFactory().event("user.invited") | {"addedLater": 1}
    assert EventRequestBody().load(body)["addedLater"] == 1


class Anyone(Schema):
    who = AnyOf(UserPrincipal, BatchPrincipal)
    when = DateTime()


def test_any_of_loads_the_first_that_fits():
    user = {"username": "tom", "name": "Tom", "principalType": "user"}
    assert Anyone().load({"who": user})["who"]["principal_type"] == "user"
    job = {"username": "cron", "principalType": "batch_job"}
    assert Anyone().load({"who": job})["who"] == {"username": "cron", "principal_type": "batch_job"}


def test_any_of_says_why_each_does_not_fit():
    with pytest.raises(ValidationError) as refusal:
        Anyone().load({"who": {"username": "x"}})
    missing = ["Missing data for required field."]
    assert refusal.value.messages == {
        "who": [
            {
                "UserPrincipal": {"name": missing, "principalType": missing},
                "BatchPrincipal": {"principalType": missing},
            }
        ]
    }


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC)),
        ("2021-09-01t12:00:00z", datetime(2021, 9, 1, 12, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
    ],
)
def test_date_times_of_rfc_3339_are_loaded(text, time):
    assert Anyone().load({"when": text}) == {"when": time}


def test_an_item_that_comes_twice_is_refused():
    UniqueItems()([1, 2, [1]])
    with pytest.raises(ValidationError, match="twice"):
        UniqueItems()([1, [2], [2]])
