"""What all routes have in common: tokens, errors in the envelope, health, the document."""

import json
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import rsa

from extension_kit.errors import StoreUnavailable
from extension_kit.protocol import to_yaml
from extensions.tapis.document import build_document
from extensions.tapis.operations import BASE, OPERATIONS
from tests.extensions.tapis.api import Caller
from tests.extensions.tapis.tapipy_process import HERE
from tests.support.tapis_tokens import headers_of, pem, token

ROOT = Path(__file__).parents[3]
UPSTREAM = {
    "healthCheck",
    "readyCheck",
    "getSubscriptions",
    "postSubscription",
    "searchSubscriptionsQueryParameters",
    "searchSubscriptionsRequestBody",
    "getSubscriptionByName",
    "patchSubscriptionByName",
    "deleteSubscriptionByName",
    "getSubscriptionByUuid",
    "deleteSubscriptionByUuid",
    "deleteSubscriptionsBySubject",
    "isEnabled",
    "enableSubscription",
    "disableSubscription",
    "updateTTL",
    "publishEvent",
    "postEvent",
    "endEventSeries",
    "beginTestSequence",
    "getTestSequence",
    "deleteTestSequence",
    "recordTestNotification",
}


def path_of(operation):
    values = {"name": "n", "uuid": "00000000-0000-4000-8000-000000000000", "subject": "s", "ttlMinutes": "5"}
    return operation.path.format(**values)


@pytest.mark.parametrize(
    "operation", [each for each in OPERATIONS.values() if each.needs_token], ids=lambda each: each.id
)
class TestTokens:
    def ask(self, world, operation, headers):
        caller = Caller(world.client, headers)
        return caller.ask(operation.method.upper(), path_of(operation), status=401)

    def test_without_one(self, world, operation):
        answer = self.ask(world, operation, {})
        assert answer["message"] == "NTFLIB_UNAUTH the header X-Tapis-Token is missing"

    def test_with_a_wrong_one(self, world, operation):
        for headers in (
            {"X-Tapis-Token": "garbage"},
            {"X-Tapis-Token": token(exp=1), "X-Tapis-Tenant": world.tenant, "X-Tapis-User": "u"},
            {"X-Tapis-Token": token()},
            {**headers_of("testuser1", world.tenant), "X-Tapis-User": "testuser2"},
        ):
            assert headers["X-Tapis-Token"] not in json.dumps(self.ask(world, operation, headers))

    def test_options_need_none(self, world, operation):
        reply = world.client.options(f"{BASE}{path_of(operation)}")
        assert reply.status_code == 200
        assert operation.method.upper() in reply.headers["Allow"]


class TestErrors:
    @pytest.mark.parametrize("path", ["", "/nothing", "/subscriptions/a/b/c", "/subscriptions/a", "/events/other"])
    def test_unknown_paths(self, jobs, path):
        assert jobs.get(path, status=404)["status"] == "Not Found"

    def test_wrong_methods(self, world, jobs):
        answer = jobs.ask("PUT", "/events/publish", status=405)
        assert answer["status"] == "Method Not Allowed"
        reply = world.client.put(f"{BASE}/events/publish")
        assert set(reply.headers["Allow"].split(", ")) == {"POST", "OPTIONS"}

    def test_other_paths_have_the_kits_form(self, world):
        reply = world.client.get("/v3/other")
        assert reply.status_code == 404
        assert reply.json.keys() == {"title", "detail"}

    def test_a_database_that_is_away(self, world, jobs, monkeypatch):
        def away(*arguments):
            raise StoreUnavailable("The database postgresql://secret is away")

        for way in ("transaction", "read"):
            monkeypatch.setattr(type(world.database), way, away)
        answer = jobs.publish(status=500)
        assert (answer["status"], answer["message"]) == (
            "Internal Server Error",
            "The database cannot be used at the moment",
        )
        assert Caller(world.client, {}).get("/readycheck", status=503)["message"].startswith("TAPIS_NOT_READY")
        assert "result" in Caller(world.client, {}).get("/healthcheck")

    def test_a_mistake_of_ours(self, jobs, monkeypatch):
        monkeypatch.setattr("extensions.tapis.event_routes.publish", lambda *arguments, **more: 1 / 0)
        assert jobs.publish(status=500)["message"] == "Internal Server Error"


class TestHealth:
    def test_nobody_is_asked_who_they_are(self, world):
        for path, word in (("/healthcheck", "Health"), ("/readycheck", "Ready")):
            results = [world.nobody().get(path)["result"] for _ in range(2)]
            first, second = (int(result.rpartition(" ")[2]) for result in results)
            assert second == first + 1
            assert results[0].startswith(f"{word} check received. Count: ")

    def test_a_slash_at_the_end(self, world):
        assert world.client.get(f"{BASE}/healthcheck/").status_code == 200


class TestDocument:
    def test_the_operations_are_upstreams(self):
        assert set(OPERATIONS) == UPSTREAM
        document = build_document()
        found = {
            operation["operationId"]: (path, method)
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
        }
        assert found.keys() == UPSTREAM

    def test_it_is_served(self, world):
        reply = world.client.get(f"{BASE}/openapi.json")
        assert reply.json == json.loads(json.dumps(build_document()))

    def test_every_operation_has_a_route(self, world):
        rules = {
            (rule.endpoint.partition(".")[2], method)
            for rule in world.client.application.url_map.iter_rules()
            if rule.endpoint.startswith("tapis.")
            for method in rule.methods
        }
        assert {(each.id, each.method.upper()) for each in OPERATIONS.values()} <= rules

    def test_the_file_is_of_today(self):
        content = (ROOT / "openapi" / "tapis.yaml").read_text()
        assert content.partition("\n")[2] == to_yaml(build_document())

    def test_it_is_like_that_of_tapipy(self):
        """Its paths and parameters are those of the document in tapipy, where that names them."""
        found = list(HERE.parents[1].glob("lib/*/site-packages/tapipy/resources/openapi_v3-notifications.yml"))
        if not found:
            pytest.skip("make test installs Tapis's own client, tapipy")
        upstream = yaml.safe_load(found[0].read_text())
        document = build_document()
        for path, methods in upstream["paths"].items():
            for method, theirs in methods.items():
                ours = document["paths"][path][method]
                assert ours["operationId"] == theirs["operationId"]
                wanted = {each["name"] for each in theirs.get("parameters", ())} - {"freeFormParameterName"}
                assert wanted <= {each["name"] for each in ours["parameters"]}
                assert ("requestBody" in theirs) <= (
                    "requestBody" in ours or theirs["operationId"] == "beginTestSequence"
                )
                assert bool(theirs.get("security")) == bool(ours.get("security"))
                codes = set(theirs["responses"]) - {"404"}
                assert codes <= set(ours["responses"]), theirs["operationId"]


def test_refusals_are_not_logged_as_failures(world, caplog):
    world.nobody().get("/subscriptions", status=401)
    world.user().publish(status=401)
    world.jobs().publish(status=400, type="jobs")
    assert [record for record in caplog.records if record.levelname in {"WARNING", "ERROR"}] == []


def test_tokens_signed_with_the_keys_of_tenants(make_world):
    key, other = (rsa.generate_private_key(65537, 2048) for _ in range(2))
    keys = f"admin: {pem(key)}\n{pem(other)}"
    world = make_world(EXTENSION_TAPIS_JWT_SECRET="", EXTENSION_TAPIS_JWT_PUBLIC_KEY=keys)
    service = {"X-Tapis-Tenant": world.tenant, "X-Tapis-User": "testuser1"}
    for signed, status in ((key, 200), (other, 401)):
        headers = {**service, "X-Tapis-Token": token(key=signed, algorithm="RS256")}
        Caller(world.client, headers).publish(status=status)
    user = {"X-Tapis-Token": token("testuser1", world.tenant, "user", key=other, algorithm="RS256")}
    assert Caller(world.client, user).names() == []
    world.jobs().publish(status=401)  # there is no secret
