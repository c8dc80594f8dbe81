"""The served document is true: schemathesis makes requests from it, with a token, and judges the answers.

What the document allows may still be refused: a search is a text with a grammar, an event's type begins with its
service. So it is not asked that all of it is taken, but that every answer is one of those that the document names.
"""

from pathlib import Path

import jsonschema_rs
import pytest
from schemathesis.specs.openapi.definitions import OPENAPI_31

from extensions.tapis.document import build_document
from extensions.tapis.tables import TABLES
from tests.support.durable import postgresql_server, postgresql_url
from tests.support.paths import KIT
from tests.support.schemathesis_run import CONFORMANCE, schemathesis
from tests.support.servers import run_server
from tests.support.tapis_tokens import SECRET, headers_of
from tests.support.waiting import wait_until

__all__ = ["postgresql_server", "postgresql_url"]  # fixtures

TAPIS = str(Path(__file__).parents[3] / "extensions" / "tapis")


@pytest.fixture
def tables():
    return [TABLES]


def test_it_is_a_valid_document():
    assert list(jsonschema_rs.iter_errors(OPENAPI_31, build_document())) == []
    for schema in build_document()["components"]["schemas"].values():
        assert jsonschema_rs.meta.is_valid(schema)


@pytest.mark.parametrize(
    ("service", "store"),
    [("notifications", "postgresql"), (None, "sqlite")],
)
def test_the_server_does_what_its_document_says(tmp_path, request, service, store):
    headers = headers_of("testuser1", "dev", service=service)
    environment = {"EXTENSION_TAPIS_JWT_SECRET": SECRET}
    if store == "postgresql":
        environment["EXTENSION_DATABASE_URL"] = request.getfixturevalue("postgresql_url")
    with run_server([KIT, "serve", TAPIS], tmp_path / "log", **environment) as server:
        wait_until(lambda: server.health("readiness") == 200)
        run = schemathesis(server, build_document(), tmp_path, checks=CONFORMANCE, headers=headers)
        assert run.returncode == 0, run.stdout + run.stderr
        assert "23 selected / 23 total" in run.stdout
        assert "Traceback" not in server.log
