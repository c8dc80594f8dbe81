"""Tokens of actions: gotten by client credentials, kept, and in no log."""

import json
import re

import pytest

from tests.extensions.eventhos.making import ended
from tests.support.receivers import reply

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
WITH_TOKEN = {"headers": {"Authorization": "Bearer ${.oauthResponse.body.access_token}"}}


class TestOAuth2:
    @pytest.fixture
    def tokens(self, receiver):
        """A token endpoint, which counts its tokens."""

        def answer(request):
            there.made += 1
            body = {"access_token": f"token_{there.made}", "expires_in": 3600}
            return reply(there.status, json.dumps(body).encode(), X_Realm="r")

        there = receiver(answer=answer)
        there.made, there.status = 0, 200
        return there

    @pytest.fixture
    def security(self, tokens):
        return {"url": tokens.url("/token", "127.0.0.1"), "clientId": "me & you", "clientSecret": "s3cr&t=%"}

    def test_a_token_is_kept_until_it_is_refused(self, world, receiver, working, tokens, security):
        def answer(request):
            return reply(200 if request.headers["authorization"] == f"Bearer {there.wanted}" else 401)

        there = receiver(answer=answer)
        there.wanted = "token_1"
        world.add_contract(there.url("/", "127.0.0.1"), security=security, template=WITH_TOKEN)
        with working(world.api):
            world.send({})
            ended(world, 1)
            world.send({})
            ended(world, 2)
            there.wanted = "token_2"
            world.send({})
            rows = ended(world, 3)
        assert [row["state"] for row in rows] == [["processed"]] * 3
        assert tokens.made == 2
        assert [request.headers["authorization"] for request in there.requests][-2:] == [
            "Bearer token_1",
            "Bearer token_2",
        ]
        assert re.fullmatch(TIME, tokens.requests[0].headers["eventhosstartdate"])
        form = tokens.requests[0].body.decode()
        assert form == "client_id=me+%26+you&client_secret=s3cr%26t%3D%25&grant_type=client_credentials"

    def test_actions_use_the_whole_answer_with_names_of_headers_in_lower_case(
        self, world, receiver, working, tokens, security
    ):
        there = receiver()
        template = {"body": {"realm": "${.oauthResponse.headers.x-realm}", "all": "${.oauthResponse.body}"}}
        world.add_contract(there.url("/", "127.0.0.1"), security=security, template=template)
        with working(world.api):
            world.send({})
            ended(world, 1)
        expected = {"realm": "r", "all": {"access_token": "token_1", "expires_in": 3600}}
        assert json.loads(there.requests[0].body) == expected

    def test_it_is_in_no_log_wherever_it_is_sent(self, world, receiver, working, tokens, security):
        there = receiver(answer=lambda request: reply(200, b"{}", Set_Cookie="session=hidden-word"))
        token = "${.oauthResponse.body.access_token}"
        template = {
            "headers": {"X-Token": f"T {token}"},
            "params": {"token": token},
            "body": {"a": [token, "${.oauthResponse.body}"], "b": 1},
        }
        world.add_contract(there.url("/${.oauthResponse.body}", "127.0.0.1"), security=security, template=template)
        with working(world.api):
            world.send({})
            (row,) = ended(world, 1)
        (request,) = there.requests
        assert request.headers["x-token"] == "T token_1"
        assert request.path.endswith("?token=token_1")
        detail = world.execution(world.executions(row["id"])[0]["detailId"])
        assert "token_1" not in json.dumps(detail)
        assert "hidden-word" not in json.dumps(detail)
        assert detail["request"]["headers"]["X-Token"] == "T ****"
        assert detail["request"]["body"] == {"a": ["****", {"access_token": "****", "expires_in": 3600}], "b": 1}

    def test_its_failure_is_the_contracts_error_without_the_secret(self, world, receiver, working, tokens, security):
        tokens.status = 401
        there = receiver()
        world.add_contract(there.url("/", "127.0.0.1"), security=security, template=WITH_TOKEN)
        with working(world.api):
            world.send({})
            (row,) = ended(world, 1)
        detail = world.execution(world.executions(row["id"])[0]["detailId"])
        assert detail["state"] == "error"
        assert detail["request"]["url"] == security["url"]
        assert detail["request"]["body"]["client_secret"] == "****"
        assert "s3cr" not in json.dumps(detail)
        assert there.requests == []
