"""The OpenAPI document says what is enforced and answered, no more and no less."""

import json
import runpy
from base64 import b64encode
from copy import deepcopy
from pathlib import Path

import jsonschema_rs
import pytest
import yaml
from schemathesis.specs.openapi.definitions import OPENAPI_31

from extension_kit import Extension
from extension_kit.agent.factory import EventFactory
from extension_kit.events.schema.modes import event_components
from extension_kit.events.schema.validation import EventValidator
from extension_kit.settings.kit import Settings
from extension_kit.web.openapi import build_document, to_yaml

ROOT = Path(__file__).parents[3]
LISTENERS = [
    {"method": "POST", "path": "/events/all", "listenTo": ["*"], "restrictTo": "leader"},
    {"method": "POST", "path": "/events/ends", "listenTo": ["user.invited", "killswitch.engaged"], "restrictTo": "any"},
]


def build(mode="tolerant", listeners=LISTENERS, **options):
    return build_document(title="extension-x", version="1.2.3", listeners=listeners, mode=mode, **options)


DOCUMENTS = {
    "tolerant": build(),
    "strict": build("strict"),
    "authenticated": build(basic_auth=True),
    "without listeners": build(listeners=[]),
    **{path.name: yaml.safe_load(path.read_text()) for path in (ROOT / "openapi").glob("event-kit*.yaml")},
}

each_document = pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
each_mode = pytest.mark.parametrize("mode", ["tolerant", "strict"])


def objects(value):
    """All objects inside of a document."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from objects(inner)


def resolve(document, value):
    """What a reference refers to, or the value itself."""
    for part in value["$ref"].split("/")[1:] if "$ref" in value else ():
        document = value = document[part]
    return value


@each_document
def test_it_is_a_valid_document_of_openapi_3_1(document):
    assert document["openapi"] == "3.1.0"
    assert list(jsonschema_rs.iter_errors(OPENAPI_31, document)) == []
    for schema in document["components"]["schemas"].values():
        assert jsonschema_rs.meta.is_valid({"$schema": document["jsonSchemaDialect"], **schema})


@each_document
def test_every_reference_leads_somewhere_and_every_component_is_referred_to(document):
    references = {found["$ref"] for found in objects(document) if "$ref" in found}
    components = {
        f"#/components/{section}/{name}"
        for section, names in document["components"].items()
        for name in names
        if section != "securitySchemes"
    }
    assert references == components


@pytest.mark.parametrize("name", ["event-kit.yaml", "event-kit.strict.yaml"])
def test_the_committed_documents_are_fresh(name):
    contents = runpy.run_path(str(ROOT / "tools" / "write_openapi.py"))["documents"]()
    assert (ROOT / "openapi" / name).read_text() == contents[name], "run: make openapi"


def test_the_committed_documents_are_the_two_modes():
    modes = {name: document["components"]["schemas"] for name, document in DOCUMENTS.items() if name.endswith("yaml")}
    assert modes.keys() == {"event-kit.yaml", "event-kit.strict.yaml"}
    assert modes["event-kit.yaml"] | event_components("tolerant") == modes["event-kit.yaml"]
    assert modes["event-kit.strict.yaml"] | event_components("strict") == modes["event-kit.strict.yaml"]


@each_mode
def test_the_schemas_that_are_enforced_are_published(mode):
    published = DOCUMENTS[mode]["components"]["schemas"]
    assert published | event_components(mode) == published


@each_mode
def test_the_example_is_accepted(mode):
    example = DOCUMENTS[mode]["components"]["examples"]["Event"]["value"]
    assert EventValidator(mode).problems(example) == []


def test_the_example_of_the_default_mode_is_the_documented_one():
    documented = json.loads((ROOT / "tests/data/steadybit/event-kit-1.json").read_text())
    assert DOCUMENTS["tolerant"]["components"]["examples"]["Event"]["value"] == documented


def test_it_says_what_is_described():
    document = DOCUMENTS["tolerant"]
    assert document["info"]["title"] == "extension-x"
    assert document["info"]["version"] == "1.2.3"
    assert list(document["paths"]) == ["/", "/openapi.json", "/events/all", "/events/ends"]
    texts = [document["paths"][path]["post"]["description"] for path in ("/events/all", "/events/ends")]
    assert texts[0].startswith("Wants every event. Restricted to: `leader`.")
    assert texts[1].startswith("Wants `user.invited`, `killswitch.engaged`. Restricted to: `any`.")


@pytest.mark.parametrize(
    ("name", "statuses"),
    [
        ("tolerant", ["200", "400", "413", "422", "500", "503"]),
        ("strict", ["200", "400", "413", "415", "422", "500", "503"]),
        ("authenticated", ["200", "400", "401", "413", "422", "500", "503"]),
    ],
)
def test_every_status_of_a_listener_is_listed(name, statuses):
    assert list(DOCUMENTS[name]["paths"]["/events/all"]["post"]["responses"]) == statuses


def test_authentication_is_demanded_of_every_path():
    document = DOCUMENTS["authenticated"]
    assert document["security"] == [{"basic": []}]
    assert document["components"]["securitySchemes"] == {"basic": {"type": "http", "scheme": "basic"}}
    for path in document["paths"].values():
        for operation in path.values():
            assert "401" in operation["responses"]
    assert "security" not in DOCUMENTS["tolerant"]


def test_documents_do_not_share_what_one_might_change():
    untouched = deepcopy(DOCUMENTS["tolerant"])
    components = build()["components"]
    for response in components["responses"].values():
        response["headers"].clear()
    components["examples"]["Event"]["value"]["tenant"].clear()
    components["schemas"]["ExperimentExecution"]["properties"]["executionId"]["type"].clear()
    assert build() == untouched


@each_document
def test_yaml_says_the_same(document):
    text = to_yaml(document)
    assert yaml.safe_load(text) == document
    assert list(yaml.safe_load(text)) == list(document)
    assert list(document)[:3] == ["openapi", "info", "jsonSchemaDialect"]
    assert "&id" not in text
    assert max(map(len, text.splitlines())) <= 130


extension = Extension("extension-x")


@extension.listen_to("*", path="/events/all", immediate=True)
def listen(event):
    if event.name == "killswitch.engaged":
        raise RuntimeError("no")


GOOD = EventFactory(1).event("user.invited")
JSON = {"Content-Type": "application/json"}
KEY = {"Authorization": "Basic " + b64encode(b"agent:secret").decode()}


@each_mode
@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status"),
    [
        ("GET", "/", KEY, None, 200),
        ("GET", "/", {**KEY, "If-None-Match": "*"}, None, 304),
        ("GET", "/", {}, None, 401),
        ("GET", "/openapi.json", KEY, None, 200),
        ("GET", "/openapi.json", {}, None, 401),
        ("POST", "/events/all", {**KEY, **JSON}, json.dumps(GOOD), 200),
        ("POST", "/events/all", {**KEY, **JSON}, "", 400),
        ("POST", "/events/all", {**KEY, **JSON}, "[]", 400),
        ("POST", "/events/all", {**KEY, **JSON}, "{", 400),
        ("POST", "/events/all", JSON, "{}", 401),
        ("POST", "/events/all", {**KEY, **JSON}, " " * 5000, 413),
        ("POST", "/events/all", KEY, json.dumps(GOOD), {"tolerant": 200, "strict": 415}),
        ("POST", "/events/all", {**KEY, **JSON}, "{}", 422),
        ("POST", "/events/all", {**KEY, **JSON}, json.dumps(GOOD | {"eventName": "killswitch.engaged"}), 500),
        ("POST", "/events/all", {**KEY, **JSON, "Request-Timeout": "1e-9"}, json.dumps(GOOD | {"id": "late"}), 503),
    ],
)
def test_answers_are_as_described(mode, method, path, headers, body, status):
    settings = Settings(validation=mode, basic_username="agent", basic_password="secret", max_body_bytes=4096)
    client = extension.create_app(settings).test_client()
    document = client.get("/openapi.json", headers=KEY).get_json()

    response = client.open(path, method=method, headers=headers, data=body)

    assert response.status_code == (status[mode] if isinstance(status, dict) else status)
    operation = document["paths"][path][method.lower()]
    described = resolve(document, operation["responses"][str(response.status_code)])
    for name, header in described["headers"].items():
        assert name in response.headers or not resolve(document, header).get("required")
    if "content" not in described:
        assert response.data == b""
        return
    schema = described["content"][response.mimetype]["schema"]
    content = response.get_json() if response.is_json else response.text
    assert jsonschema_rs.is_valid({**schema, "components": document["components"]}, content)
