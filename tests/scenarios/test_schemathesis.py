"""The served OpenAPI document is true: schemathesis makes requests from it and judges the answers.

All of its checks are on. What the document allows is accepted and what it does not allow is refused, with the status
codes, headers, content types and bodies that it names; other methods are refused; authentication is asked for.
"""

from base64 import b64encode

import pytest

from tests.support.schemathesis_run import schemathesis
from tests.support.servers import serve_app

USER, PASSWORD = "agent", "secret"
AUTHORIZATION = {"Authorization": f"Basic {b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"}
GUARD = {"STEADYBIT_EXTENSION_BASIC_USERNAME": USER, "STEADYBIT_EXTENSION_BASIC_PASSWORD": PASSWORD}


def run_on(server, document, folder, *options):
    return schemathesis(server, document, folder, "--auth", f"{USER}:{PASSWORD}", *options, examples=20)


def served_document(server):
    return server.request("GET", "/openapi.json", headers=AUTHORIZATION).json


@pytest.mark.parametrize(
    ("edge", "mode", "guard"),
    [
        # Two are enough: test_answers.py holds both edges to the same bytes in both modes.
        pytest.param("asgi", "strict", GUARD, id="asgi-strict-guarded"),
        pytest.param("flask", "tolerant", {}, id="flask-tolerant"),
    ],
)
def test_the_server_does_what_its_document_says(served, tmp_path, edge, mode, guard):
    with served("reader", edge=edge, STEADYBIT_EXTENSION_VALIDATION=mode, **guard) as server:
        run = run_on(server, served_document(server), tmp_path)
        assert run.returncode == 0, run.stdout + run.stderr
        assert "3 selected / 3 total" in run.stdout
        assert "Traceback" not in server.log


def forget_refusals(document):
    del document["paths"]["/events/everything"]["post"]["responses"]["422"]


def ask_for_more(document):
    document["components"]["schemas"]["EventRequestBody"]["required"].append("eventTime")


def promise_a_guard(document):
    document["components"]["securitySchemes"] = {"basic": {"type": "http", "scheme": "basic"}}
    document["security"] = [{"basic": []}]


def promise_a_header(document):
    document["components"]["headers"]["RequestId"]["schema"] = {"type": "integer"}


@pytest.fixture(scope="module")
def open_server(tmp_path_factory):
    with serve_app("reader", tmp_path_factory.mktemp("logs") / "log") as server:
        yield server


@pytest.mark.parametrize(
    ("spoil", "finding"),
    [
        (forget_refusals, "Undocumented status code"),
        (ask_for_more, "Schema-violating request accepted"),
        (promise_a_guard, "API accepts requests without authentication"),
        (promise_a_header, "Response header does not conform to the schema"),
    ],
)
def test_a_document_that_is_not_true_is_found_out(open_server, tmp_path, spoil, finding):
    document = served_document(open_server)
    spoil(document)
    run = run_on(open_server, document, tmp_path, "--phases", "coverage", "--max-failures", "1")
    assert run.returncode == 1, run.stdout + run.stderr
    assert finding in run.stdout
