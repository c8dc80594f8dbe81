"""The schemas are the specification's: neither laxer nor stricter, and marshmallow agrees with the documents."""

import json
from copy import deepcopy
from datetime import datetime
from pathlib import Path

import jsonschema_rs
import pytest
import yaml
from jsonschema_rs.canonical import Containment

from extension_kit.agent.factory import EventFactory
from extension_kit.events.names import STEADYBIT_EVENT_NAMES
from extension_kit.events.schema.bodies import EventListenerList, EventRequestBody
from extension_kit.events.schema.modes import REFERENCE, event_components
from extension_kit.events.schema.openapi import json_schema_components
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
