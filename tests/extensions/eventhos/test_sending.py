"""What /event/send answers, and what is in the log afterwards (T10 to T14)."""

import json
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from sqlalchemy import update

from extensions.eventhos.tables import keys
from tests.extensions.eventhos.api import JWT_SECRET
from tests.extensions.eventhos.making import KEY, World
from tests.support.spans import HEADERS, exporter, is_continued

__all__ = ["exporter"]  # a fixture

WRONG = {"documented": 401202, "upstream": 401201}
"""Code of a wrong key."""


@pytest.fixture
def api(database, shared_apis, profile):
    return shared_apis(EXTENSION_EVENTHOS_PROFILE=profile)


def refused(world, status, code, **how):
    answer = world.send({}, status=status, **how)
    assert answer["code"] == code
    assert answer.keys() == {"message", "code", "errorUUID"}
    assert world.log() == []
    return answer["message"]


class TestAccepted:
    def test_with_a_contract(self, world, profile):
        world.add_contract("http://localhost/")
        answer = world.send({"name": "Morpheus"})
        assert answer == {"code": 20000 if profile == "upstream" else 200000, "message": "success"}
        (row,) = world.log()
        assert (row["eventIdentifier"], row["state"]) == (world.identifier, [None])

    def test_its_calls_are_in_the_trace_of_its_request(self, world, exporter):
        world.add_contract("http://localhost/")
        world.send({}, headers=HEADERS)
        assert is_continued(exporter, world.api.database, "POST /event/send")

    @pytest.mark.parametrize("change", [{"active": False}, {"deleted": True}])
    def test_a_contract_that_is_not_active_counts_as_none(self, world, profile, change):
        world.add_contract("http://localhost/", **change)
        assert world.send({}, status=203 if profile == "upstream" else 200)["code"] == 200310

    @pytest.mark.parametrize(
        "body", [{"a": 1}, [1, 2], "text", 7, 1.5, True, None, {}, [], "", 2**70, {"a\x00": "\x00"}]
    )
    def test_any_json(self, world, body):
        world.add_contract("http://localhost/")
        world.send(json.dumps(body).encode())
        (row,) = world.log()
        assert world.request(row["id"])["body"] == (float(2**70) if body == 2**70 else body)

    def test_deep_json(self, world):
        world.add_contract("http://localhost/")
        content = b"[" * 248 + b"]" * 248
        world.send(content)
        assert json.dumps(world.request(world.log()[0]["id"])["body"]).encode() == content

    def test_no_body_is_an_empty_object(self, world):
        world.add_contract("http://localhost/")
        world.send(None)
        assert world.request(world.log()[0]["id"])["body"] == {}

    def test_lone_surrogates_are_repaired(self, world):
        world.add_contract("http://localhost/")
        world.send(rb'{"name": "\ud800"}')
        assert world.request(world.log()[0]["id"])["body"] == {"name": "\ufffd"}

    def test_neither_key_nor_credentials_are_stored(self, world):
        world.add_contract("http://localhost/")
        secrets = {"Authorization": "Bearer hidden-1", "Cookie": "session=hidden-2", "X-Trace": "7"}
        world.send({}, headers=secrets, **{"access-key": world.key, "extra": "yes"})
        content = world.api.ask("GET", f"/event/received/{world.log()[0]['id']}")["content"]
        request = content["receivedEvent"]["received_request"]
        assert world.key not in json.dumps(content)
        assert "hidden" not in json.dumps(content)
        assert request["headers"]["x-trace"] == "7"
        assert request["query"] == {"event-identifier": world.identifier, "extra": "yes"}
        assert request["url"] == f"/event/send?event-identifier={world.identifier}&extra=yes"

    def test_the_same_idempotency_key_once_for_each_event(self, world):
        world.add_contract("http://localhost/")
        other = world.add_event("another")
        world.add_contract("http://localhost/", event=other)
        for _ in range(2):
            world.send({}, headers={"Idempotency-Key": "one"})
        world.send({}, headers={"Idempotency-Key": "two"})
        world.send({}, identifier="another", headers={"Idempotency-Key": "one"})
        assert len(world.log()) == 3


class TestTokens:
    def token(self, client, lifetime=timedelta(hours=1)):
        data = {"id": client, "subjectType": "client", "identifier": "erp"}
        return jwt.encode({"data": data, "exp": datetime.now(UTC) + lifetime}, JWT_SECRET, "HS256")

    def test_one_of_the_client_is_a_key(self, world):
        world.add_contract("http://localhost/")
        token = self.token(world.client)
        assert world.send({}, key=token)["message"] == "success"
        content = world.api.ask("GET", f"/event/received/{world.log()[0]['id']}")["content"]
        assert (content["receivedEvent"]["eventId"], token in json.dumps(content)) == (world.event, False)

    def test_others_are_refused(self, world):
        world.add_contract("http://localhost/")
        other = World(world.api, key="another-key")
        own = self.token(world.client)
        for wrong in (self.token(other.client), self.token(world.client, -timedelta(seconds=1)), f"{own}x"):
            assert refused(world, 401, 401202, key=wrong) == "Incorrect token"
        assert refused(world, 401, 401202, key=world.api.token) == "Incorrect token"


class TestRefused:
    def test_an_identifier_that_databases_cannot_hold(self, world, profile):
        refused(world, 400, 400202 if profile == "upstream" else 400024, identifier="nothing\x00here")

    def test_a_wrong_key_is_not_told_which_events_exist(self, world, profile):
        answers = [
            refused(world, 401, WRONG[profile], key="wrong", identifier=identifier)
            for identifier in (world.identifier, "nothing-here")
        ]
        assert answers == ["Incorrect token"] * 2

    def test_a_key_is_compared_whole(self, api, profile):
        world = World(api, key="k" * 100)
        refused(world, 401, WRONG[profile], key="k" * 72 + "x" * 28)
        world.add_contract("http://localhost/")
        assert world.send({})["message"] == "success"

    @pytest.mark.parametrize("change", ["revoked_at", "expires_at"])
    def test_a_key_that_was_revoked_or_has_expired(self, world, change, profile):
        with world.api.database.transaction() as connection:
            connection.execute(update(keys).values({change: keys.c.created_at}))
        refused(world, 401, WRONG[profile])

    @pytest.mark.parametrize(
        "body", [b"{", b"text", b"\xff\xfe", b"[" * 249 + b"]" * 249, b"[" * 300 + b"]" * 300, b"[" * 100_000]
    )
    def test_no_json(self, world, body):
        answer = world.send(body, status=400)
        assert answer["code"] == 500000

    def test_an_idempotency_key_that_is_too_long(self, world):
        refused(world, 400, 400201, headers={"Idempotency-Key": "x" * 256})


def test_functions_and_other_contracts_are_not_reached_by_a_refused_event(world, profile):
    world.add_contract("http://localhost/")
    refused(world, 401, WRONG[profile], key=KEY + "!")
    with world.api.database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM deliveries").scalar_one() == 0
