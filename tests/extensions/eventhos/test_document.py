"""The OpenAPI document is valid, fresh, served and true: schemathesis makes requests from it and judges the answers."""

import json
import re
import runpy
from pathlib import Path

import jsonschema_rs
import pytest
import yaml
from schemathesis.specs.openapi.definitions import OPENAPI_31

from extensions.eventhos.document import build_document
from extensions.eventhos.operations import OPERATIONS
from extensions.eventhos.tables import TABLES
from tests.extensions.eventhos.api import ADMIN
from tests.extensions.eventhos.making import ended
from tests.extensions.eventhos.managing import new_action, new_client, new_contract, new_event, new_system
from tests.extensions.eventhos.served import Client, serving
from tests.support.durable import postgresql_server, postgresql_url
from tests.support.schemathesis_run import CONFORMANCE, schemathesis

__all__ = ["postgresql_server", "postgresql_url"]  # fixtures

ROOT = Path(__file__).parents[3]
OPENAPI = "/event/openapi.json"
ALL = [operation for group in OPERATIONS.values() for operation in group]
WITH_BODY = [operation for operation in ALL if operation.body not in (None, "AnyValue")]
PARTS = [list(OPERATIONS)[first::4] for first in range(4)]
"""The groups of operations, in parts that take less than the time of a test."""
DOCUMENT = build_document()
ACTION = {
    "headers": [{"key": "X-Key", "value": "a secret", "secret": True}],
    "queryUrlParams": [{"key": "a", "value": 1}],
    "bodyExpression": "body.a",
    "securityType": 1,
    "securityUrl": "http://tokens.test/",
    "clientId": "c",
    "clientSecret": "s",
}


def named(operation):
    return f"{operation.method.upper()} {operation.path}"


def path_of(operation, id=1):
    return re.sub(r"{\w+}", str(id), operation.path)


def schema_of(name):
    return DOCUMENT["components"]["schemas"][name]


def check(operation, status, answer):
    """Check that an answer matches the schema of an operation's status."""
    found = DOCUMENT["paths"][operation.path][operation.method]["responses"][str(status)]
    if "$ref" in found:
        found = DOCUMENT["components"]["responses"][found["$ref"].rpartition("/")[2]]
    schema = {**found["content"]["application/json"]["schema"], "components": DOCUMENT["components"]}
    jsonschema_rs.Draft202012Validator(schema, validate_formats=True).validate(answer)


def refused_keys(api, operation, body):
    """Return the keys of a body that the message of its refusal names."""
    headers = {"Authorization": f"BEARER {api.token}", "access-key": "any"}
    query = {"event-identifier": "new"} if operation.has_key else {}
    answer = api.ask(operation.method, path_of(operation), body, status=400, headers=headers, **query)
    check(operation, 400, answer)
    return set(re.findall(r"(?:^|; )(\w+): ", answer["message"]))


def test_it_is_a_valid_document():
    assert list(jsonschema_rs.iter_errors(OPENAPI_31, DOCUMENT)) == []
    for schema in DOCUMENT["components"]["schemas"].values():
        assert jsonschema_rs.meta.is_valid(schema)


def test_the_committed_document_is_fresh():
    contents = runpy.run_path(str(ROOT / "tools" / "write_openapi.py"))["documents"]()
    assert (ROOT / "openapi" / "eventhos.yaml").read_text() == contents["eventhos.yaml"], "run: make openapi"
    assert yaml.safe_load(contents["eventhos.yaml"]) == DOCUMENT


def test_it_is_served_without_a_token(api):
    assert api.ask("GET", OPENAPI, headers={}) == DOCUMENT


def test_it_has_all_routes_and_no_others(api):
    own = ("eventhos.", "grouped POST /event")
    rules = [rule for rule in api.client.application.url_map.iter_rules() if rule.endpoint.startswith(own)]
    served = {
        (method.lower(), re.sub(r"<(?:[^:>]*:)?(\w+)>", r"{\1}", rule.rule))
        for rule in rules
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    described = {(method, path) for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert described == served


def test_every_component_is_used():
    text = json.dumps(DOCUMENT)
    for kind in ("schemas", "responses", "headers", "parameters"):
        for name in DOCUMENT["components"][kind]:
            assert f'"#/components/{kind}/{name}"' in text, name


@pytest.mark.parametrize("operation", [each for each in ALL if each.permission], ids=named)
def test_the_permission_of_an_operation_is_the_one_it_asks_for(api, operation):
    made = api.ask("POST", "/auth/client", {"identifier": "c", "name": "c"}, status=201)["content"]
    sent = {"grant_type": "client_credentials", "client_id": made["clientId"], "client_secret": made["clientSecret"]}
    token = api.ask("POST", "/auth/token", sent, status=201)["content"]["jwt_token"]
    headers = {"Authorization": f"BEARER {token}"}
    answer = api.ask(operation.method, path_of(operation), {}, status=401, headers=headers)
    check(operation, 401, answer)
    assert answer["code"] == 401002
    assert f"the permission {operation.permission} is" in answer["message"]
    check(operation, 403, api.ask(operation.method, path_of(operation), {}, status=403, headers={}))


@pytest.mark.parametrize("operation", WITH_BODY, ids=named)
def test_the_keys_of_a_body_are_those_that_are_read(api, operation):
    schema = schema_of(operation.body)
    typed = {key for key, value in schema["properties"].items() if value.keys() & {"type", "enum"}}
    assert refused_keys(api, operation, {key: {} for key in schema["properties"]}) == typed


@pytest.mark.parametrize("operation", [each for each in WITH_BODY if "required" in schema_of(each.body)], ids=named)
def test_the_required_keys_of_a_body_are_those_that_are_missed(api, operation):
    assert refused_keys(api, operation, {}) == set(schema_of(operation.body)["required"])


@pytest.mark.parametrize("operation", WITH_BODY, ids=named)
def test_texts_that_are_longer_than_described_are_refused(api, operation):
    properties = schema_of(operation.body)["properties"]
    long = {key: "a" * (value["maxLength"] + 1) for key, value in properties.items() if "maxLength" in value}
    assert not long or refused_keys(api, operation, long) >= long.keys()


def test_answers_are_as_described(world, working):
    api = world.api
    client = new_client(api)
    system = new_system(api, clientId=client)
    event, action = new_event(api, system), new_action(api, system, **ACTION)
    contract = new_contract(api, event, action, retrySchedule=[1, 2.5], mailRecipientsOnError="a@example.org")
    api.ask("PUT", f"/auth/client/{client}/long-live", {"longLive": True}, status=201)
    world.add_contract("http://127.0.0.1:1/")
    with working(api):
        world.send({"a": 1})
        (row,) = ended(world, 1)
    (execution,) = world.executions(row["id"])
    ids = {"event": event, "action": action, "contract": contract, "system": system, "client": client}
    ids |= {"received": row["id"], "execution-detail": execution["detailId"]}
    for operation in (each for each in ALL if each.method == "get" and not each.path.endswith("/secret")):
        path = re.sub(r"(\w[\w-]*)/{\w+}", lambda found: f"{found[1]}/{ids[found[1]]}", operation.path)
        answer = api.ask("GET", path)
        check(operation, 200, answer)
        assert answer["content"], path
        if "items" in answer["content"]:
            assert answer["content"]["items"], path


@pytest.fixture
def tables():
    return [TABLES]


@pytest.fixture
def store_url(request, tmp_path):
    """The URL of a database with the tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/extension.db"
    return request.getfixturevalue("postgresql_url")


@pytest.mark.parametrize("groups", PARTS, ids="-".join)
@pytest.mark.parametrize("store_url", ["sqlite", "postgresql"], indirect=True)
def test_the_server_does_what_its_document_says(tmp_path, store_url, groups):
    with serving(store_url, tmp_path / "log") as server:
        client = Client(server)
        document = client.ask("GET", OPENAPI)
        client.token = client.make("/auth/login", ADMIN, "jwt_token")
        key, identifier = made(client)
        (tmp_path / "schemathesis.toml").write_text(f'[parameters]\n"query.event-identifier" = "{identifier}"\n')
        headers = {"Authorization": f"Bearer {client.token}", "access-key": key}
        tags = (word for group in groups for word in ("--include-tag", group))
        run = schemathesis(server, document, tmp_path, *tags, checks=CONFORMANCE, headers=headers)
        assert run.returncode == 0, run.stdout + run.stderr
        described = [each["tags"] for methods in DOCUMENT["paths"].values() for each in methods.values()]
        selected = sum(not {*tags}.isdisjoint(groups) for tags in described)
        assert f"{selected} selected / {len(described)} total" in run.stdout
        assert "Traceback" not in server.log


def made(client):
    """Make a contract and what it needs, so that the least ids are known; return the key and the event's identifier."""
    body = {"identifier": "hr", "name": "HR"}
    sender = client.ask("POST", "/auth/client?longLive=true", body, 201)["content"]
    system = client.make("/system", {**body, "systemClass": "hybrid", "clientId": sender["id"]}, "systemId")
    event = client.make("/event", {**body, "system_id": system}, "eventId")
    body |= {"system_id": system, "method": "POST", "url": "http://127.0.0.1:1/"}
    action = client.make("/action", body, "actionId")
    client.make("/contract", {**body, "eventId": event, "actionId": action}, "actionId")
    (found,) = client.ask("GET", "/event")["content"]["items"]
    return sender["access_token"], found["identifier"]
