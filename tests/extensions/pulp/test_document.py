"""The OpenAPI document is valid, fresh, served and true: schemathesis makes requests from it and judges the answers."""

import json
import runpy
from pathlib import Path

import jsonschema_rs
import pytest
import yaml
from schemathesis.specs.openapi.definitions import OPENAPI_31

from extensions.pulp.document import build_document
from extensions.pulp.event_types import PULP_TYPES
from tests.extensions.pulp.api import DOCUMENT_KEYS, EVENTS, HTTP, basic
from tests.support.paths import BIN
from tests.support.schemathesis_run import schemathesis
from tests.support.servers import run_server
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[3]
OPENAPI = "/pulp/api/openapi.json"
NAME, PASSWORD = "admin", "a password of the tests"
VARIABLES = {"EXTENSION_PULP_ADMIN_USERNAME": NAME, "EXTENSION_PULP_ADMIN_PASSWORD": PASSWORD}
TOKEN = {"EXTENSION_PULP_TOKEN": "a token of the tests"}


def validator(name, document=None):
    components = (document or build_document())["components"]
    return jsonschema_rs.Draft202012Validator(
        {"$ref": f"#/components/schemas/{name}", "components": components}, validate_formats=True
    )


def test_it_is_a_valid_document():
    assert list(jsonschema_rs.iter_errors(OPENAPI_31, build_document())) == []
    for schema in build_document()["components"]["schemas"].values():
        assert jsonschema_rs.meta.is_valid(schema)


def test_the_committed_document_is_fresh():
    contents = runpy.run_path(str(ROOT / "tools" / "write_openapi.py"))["documents"]()
    assert (ROOT / "openapi" / "pulp.yaml").read_text() == contents["pulp.yaml"], "run: make openapi"
    assert yaml.safe_load(contents["pulp.yaml"]) == build_document()


def test_it_is_served(api):
    assert api.ask("GET", OPENAPI) == build_document()


def test_it_has_the_types_of_the_server(make_api):
    api = make_api(EXTENSION_PULP_EVENT_TYPES="experiment.execution.failed", EXTENSION_PULP_REQUIRE_CONFIG="true")
    new = api.ask("GET", OPENAPI)["components"]["schemas"]["NewListener"]
    assert new["properties"]["event_types"]["items"]["enum"] == [*PULP_TYPES, "experiment.execution.failed", "*"]
    assert "notifier_config" in new["required"]


def test_a_listener_has_exactly_the_keys_of_its_schema(api):
    listener = api.create()
    assert validator("Listener").is_valid(listener)
    assert listener.keys() == DOCUMENT_KEYS
    for key in DOCUMENT_KEYS:
        assert not validator("Listener").is_valid({each: listener[each] for each in DOCUMENT_KEYS - {key}})
    assert not validator("Listener").is_valid({**listener, "name": "zoo"})


def test_deliveries_are_as_described(api):
    listener = api.create()
    api.notify("repo.sync.finish")
    deliveries = api.ask("GET", f"{api.one(listener['id'])}deliveries/")
    assert [delivery["event_type"] for delivery in deliveries] == ["repo.sync.finish"]
    assert validator("Delivery").is_valid(deliveries[0])


def test_a_wrong_token_is_refused_with_right_credentials(make_api):
    api = make_api(**VARIABLES, **TOKEN)
    headers = basic(NAME, PASSWORD)
    assert api.notify(headers=headers)["is_new"]
    assert api.notify(token=TOKEN["EXTENSION_PULP_TOKEN"])["is_new"]
    assert api.notify(headers=basic("pulp", TOKEN["EXTENSION_PULP_TOKEN"]))["is_new"]
    api.notify(headers=headers, token="wrong", status=401)
    api.notify(headers=basic("pulp", "wrong"), status=401)


@pytest.mark.parametrize(
    ("address", "status"),
    [("127.0.0.1", 200), ("::1", 200), ("::ffff:127.0.0.1", 200), ("::ffff:192.0.2.1", 401), ("192.0.2.1", 401)],
)
def test_without_users_this_machine_is_served(api, address, status):
    answer = api.client.get(EVENTS, environ_base={"REMOTE_ADDR": address})
    assert answer.status_code == status


TEXTS = ["\0", "x" * 10_000, "\ud800", "ä\u2028", "\uffff"]


@pytest.mark.parametrize("text", TEXTS, ids=["nul", "long", "half", "umlaut", "last"])
def test_any_text_is_answered(api, text):
    payload = {"repo_id": text, "distributor_id": text}
    assert api.notify("repo.publish.finish", payload, {"task_id": text})["is_new"]
    created = api.create(notifier_config={"url": text, "password": text, text: [text]})
    assert api.ask("GET", api.one(created["id"])) == created
    mail = api.create(notifier_type_id="email", notifier_config={"addresses": [text, "a"], "subject": text})
    assert api.ask("GET", api.one(mail["id"])) == mail


@pytest.mark.parametrize(
    "changed",
    [
        {"event_types": []},
        {"event_types": None},
        {"event_types": "*"},
        {"event_types": ["repo.*"]},
        {"event_types": ["*"] * 1001},
        {"notifier_type_id": "smtp"},
        {"notifier_type_id": ["http"]},
        {"notifier_config": "text"},
        {"notifier_config": []},
    ],
    ids=lambda changed: json.dumps(changed)[:60],
)
def test_it_does_not_allow_what_is_refused(api, changed):
    body = {**HTTP, **changed}
    assert not validator("NewListener").is_valid(body)
    api.ask("POST", body=body, status=400)


@pytest.mark.parametrize(
    "changed",
    [{"event_types": ["*", "*"]}, {"notifier_config": None}, {"notifier_config": {"urls": [None]}}, {"name": "zoo"}],
    ids=json.dumps,
)
def test_it_allows_what_is_taken(api, changed):
    body = {**HTTP, **changed}
    assert validator("NewListener").is_valid(body)
    api.ask("POST", body=body, status=201)


@pytest.mark.parametrize("upsert", ["TRUE", "1", ""])
def test_an_upsert_is_true_or_false(api, upsert):
    error = api.ask("POST", body=HTTP, status=400, upsert=upsert)
    assert error["property_names"] == ["upsert"]
    assert api.ask("GET", EVENTS) == []


def test_the_server_does_what_its_document_says(tmp_path):
    served = [str(BIN / "extension-kit"), "serve", str(ROOT / "extensions/pulp")]
    with run_server(served, tmp_path / "log", **VARIABLES, **TOKEN) as server:
        wait_until(lambda: server.health("readiness") == 200)
        # Wrong passwords in a row are answered 429, which that check does not know; test_users.py tests them.
        left_out = ("--exclude-checks", "ignored_auth")
        run = schemathesis(server, build_document(), tmp_path, *left_out, headers=basic(NAME, PASSWORD))
        assert run.returncode == 0, run.stdout + run.stderr
        assert "Traceback" not in server.log
