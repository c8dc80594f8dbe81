"""The OpenAPI document is valid, fresh, served and true: schemathesis makes requests from it and judges the answers."""

import json
import runpy
from pathlib import Path

import jsonschema_rs
import pytest
import yaml
from schemathesis.specs.openapi.definitions import OPENAPI_31

from extensions.croneye.codes import Code
from extensions.croneye.document import build_document
from tests.extensions.croneye.api import EMAIL, PASSWORD, TOKEN, VARIABLES
from tests.extensions.croneye.payloads import IMPOSSIBLE
from tests.support.paths import BIN
from tests.support.schemathesis_run import schemathesis
from tests.support.servers import run_server
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[3]
EVENT = jsonschema_rs.Draft202012Validator(
    {"$ref": "#/components/schemas/Event", "components": build_document()["components"]}, validate_formats=True
)


def test_it_is_a_valid_document():
    assert list(jsonschema_rs.iter_errors(OPENAPI_31, build_document())) == []
    for schema in build_document()["components"]["schemas"].values():
        assert jsonschema_rs.meta.is_valid(schema)


def test_the_committed_document_is_fresh():
    contents = runpy.run_path(str(ROOT / "tools" / "write_openapi.py"))["documents"]()
    assert (ROOT / "openapi" / "croneye.yaml").read_text() == contents["croneye.yaml"], "run: make openapi"
    assert yaml.safe_load(contents["croneye.yaml"]) == build_document()


def test_it_is_served(api):
    answer = api.client.get("/croneye/api/openapi.json")
    assert (answer.status_code, answer.content_type, answer.json) == (200, "application/json", build_document())


def test_it_has_the_paths_that_are_served():
    assert list(build_document("/jobs")["paths"])[:2] == ["/jobs/event", "/croneye/api/listener/event"]
    once = build_document("/croneye/api/listener")["paths"]
    assert next(iter(once)) == "/croneye/api/listener/event"
    assert len(once) == len(build_document()["paths"]) - 1


@pytest.mark.parametrize("payload", IMPOSSIBLE, ids=json.dumps)
def test_it_does_not_allow_what_is_refused(payload):
    assert not EVENT.is_valid(payload)


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"event_code": "1"},
        {"event_code": 1, "alias": "abc"},
        {"event_code": 512, "job_store": "abc", "job_id": 1, "task": "abc"},
        {"event_code": 1024, "job_id": 1},
        {"event_code": 32768, "job_id": 1, "time": 1234567890, "next_scheduled_run_time": 1234567890},
        {"event_code": 8192, "job_id": 1, "time": 1234567890, "exception": "", "traceback": ""},
        {"event_code": 4096, "job_id": 1, "time": 1234567890, "return_value": ""},
        *({"event_code": code} for code in (16, 32, 64, 128, 256, 2048, 3)),
    ],
    ids=json.dumps,
)
def test_it_allows_what_is_documented_and_dropped(api, payload):
    assert EVENT.is_valid(payload)
    assert api.send(**payload).status_code == 200


def test_every_code_is_described():
    described = {
        number
        for event in build_document()["components"]["schemas"]["Event"]["anyOf"]
        for number in event["properties"]["event_code"].get("enum", ())
    }
    assert described == {*Code} - {16, 32, 64, 128, 256, 2048}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    log = tmp_path_factory.mktemp("schemathesis") / "log"
    with run_server(
        [str(BIN / "extension-kit"), "serve", str(ROOT / "extensions/croneye")], log, **VARIABLES
    ) as served:
        wait_until(lambda: served.health("readiness") == 200)
        yield served


@pytest.mark.parametrize("part", ["listener", "dashboards"])
def test_the_server_does_what_its_document_says(server, tmp_path, part):
    """All checks are on but the two that want 401 where the Authorization header is missing: CronEye has 400 there."""
    served = server.request("GET", "/croneye/api/openapi.json").json
    if part == "listener":
        authorization = f"Token {TOKEN}"
    else:
        answer = server.post("/croneye/api/auth/login", {"email": EMAIL, "password": PASSWORD})
        authorization = f"Bearer {answer.json['auth_token']}"
    run = schemathesis(
        server,
        served,
        tmp_path,
        "--include-tag",
        part,
        "--exclude-checks",
        "ignored_auth,missing_required_header",
        # A password that is guessed would end the login that the other requests are made with.
        "--exclude-path",
        "/croneye/api/auth/change-password",
        headers={"Authorization": authorization},
    )
    assert run.returncode == 0, run.stdout + run.stderr
