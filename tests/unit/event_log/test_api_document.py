"""The OpenAPI document of the API is valid, fresh and complete, and says no more than the request bodies allow."""

import json
import re
import runpy
from pathlib import Path

import jsonschema_rs
import pytest
import yaml
from schemathesis.specs.openapi.definitions import OPENAPI_31

from extension_kit.event_log.api_document import build_document
from extension_kit.event_log.filters import DELIVERY_PARAMETERS, EVENT_PARAMETERS, PAGE_PARAMETERS
from tests.support.log_clients import log_client

ROOT = Path(__file__).parents[3]
DOCUMENT = build_document()


def test_it_is_a_valid_document_of_openapi_3_1():
    assert list(jsonschema_rs.iter_errors(OPENAPI_31, DOCUMENT)) == []
    for schema in DOCUMENT["components"]["schemas"].values():
        assert jsonschema_rs.meta.is_valid({"$schema": DOCUMENT["jsonSchemaDialect"], **schema})


def test_the_committed_document_is_fresh():
    content = runpy.run_path(str(ROOT / "tools" / "write_openapi.py"))["documents"]()["event-log.yaml"]
    assert (ROOT / "openapi" / "event-log.yaml").read_text() == content, "run: make openapi"
    assert yaml.safe_load(content) == DOCUMENT


def test_every_component_is_referred_to():
    text = json.dumps(DOCUMENT)
    for section, components in DOCUMENT["components"].items():
        for name in components if section != "securitySchemes" else ():
            assert f'"#/components/{section}/{name}"' in text


def test_it_has_all_paths_that_are_served(sqlite):
    with log_client(sqlite) as client:
        rules = [rule for rule in client.app.url_map.iter_rules() if rule.rule.startswith("/api/")]
        served = {
            (re.sub(r"<[^>]*?(\w+)>", r"{\1}", rule.rule), method.lower())
            for rule in rules
            for method in rule.methods - {"HEAD", "OPTIONS"}
        }
        assert client.get("/api/openapi.json").json == DOCUMENT
    assert {(path, method) for path, methods in DOCUMENT["paths"].items() for method in methods} == served


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/api/events", (*EVENT_PARAMETERS, *PAGE_PARAMETERS)),
        ("/api/deliveries", (*DELIVERY_PARAMETERS, *PAGE_PARAMETERS)),
        ("/api/actions", PAGE_PARAMETERS),
    ],
)
def test_it_has_all_parameters(path, names):
    parameters = DOCUMENT["paths"][path]["get"]["parameters"]
    assert {each["name"] for each in parameters if each.get("in") == "query"} == set(names)


@pytest.mark.parametrize(
    ("body", "is_valid"),
    [
        ({"refs": [7]}, True),
        ({"refs": [7], "expected": 1}, True),
        ({"filter": {}, "expected": 0}, True),
        ({"filter": {"status": "dead", "from": "7d"}, "expected": 3}, True),
        ({}, False),
        ({"filter": {}}, False),
        ({"refs": [7], "filter": {}, "expected": 1}, False),
        ({"refs": []}, False),
        ({"refs": [7], "all": True}, False),
    ],
    ids=json.dumps,
)
def test_bodies_of_actions(body, is_valid):
    schema = DOCUMENT["components"]["schemas"]["ActionRequest"]
    assert jsonschema_rs.is_valid(schema, body) is is_valid
