"""Logins and tokens of the management API, and the lock after failed ones."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier

import pytest
import time_machine
from sqlalchemy import func, select

from extensions.eventhos.failed_logins import forget_failed_logins
from extensions.eventhos.tables import failed_logins
from tests.extensions.eventhos.api import ADMIN

WRONG = {**ADMIN, "password": "a wrong password"}
LOCKED = (401, 401003)
PROFILES = {
    "documented": {"unknown": 400004, "long_live": 400011},
    "upstream": {"unknown": 401100, "long_live": 403100},
}


@pytest.fixture(params=PROFILES)
def profile(request, make_api):
    """The API in each profile, with the profile's codes."""
    return make_api(EXTENSION_EVENTHOS_PROFILE=request.param), PROFILES[request.param]


def new_client(api, **query):
    body = {"identifier": "erp", "name": "ERP", "description": "sends orders", "roles": [{"id": 2}]}
    return api.ask("POST", "/auth/client", body, status=201, **query)["content"]


def grant(client, **changes):
    sent = {"client_id": client["clientId"], "client_secret": client["clientSecret"]}
    return {"grant_type": "client_credentials", **sent, **changes}


def ask_token(api, body, status=201):
    return api.ask("POST", "/auth/token", body, status=status, headers={})


def log_in(api, body, address="127.0.0.1"):
    """Log in from an address, and return the status and the code of the answer."""
    client = api.client.application.test_client()
    reply = client.post("/auth/login", json=body, environ_base={"REMOTE_ADDR": address})
    return reply.status_code, reply.json["code"]


class TestLogin:
    def test_a_right_password_gets_a_token(self, api):
        content = api.ask("POST", "/auth/login", ADMIN, status=201, headers={})["content"]
        assert api.ask("GET", "/auth/role", headers={"Authorization": f"BEARER {content.pop('jwt_token')}"})
        roles = [{"id": 1, "identifier": "admin"}]
        assert content == {"username": "admin", "name": "admin", "userId": 1, "roles": roles}

    @pytest.mark.parametrize("changes", [{"password": "no"}, {"username": "nobody"}, {"username": "admin\u0130"}])
    def test_a_wrong_name_or_password_does_not(self, api, changes):
        message = api.refused("POST", "/auth/login", {**ADMIN, **changes}, status=401, code=401001, headers={})
        assert message == "Incorrect user name or password"

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"username": "admin"},
            {**ADMIN, "username": ""},
            {**ADMIN, "username": ["admin"]},
            {**ADMIN, "password": None},
            {**ADMIN, "password": "a\x00"},
            {**ADMIN, "password": "x" * 1001},
        ],
    )
    def test_a_body_without_them_is_refused(self, api, body):
        api.refused("POST", "/auth/login", body, status=400, code=400001, headers={})

    def test_lone_surrogates_are_a_wrong_password(self, api):
        body = json.dumps({**ADMIN, "username": "\ud800", "password": "\udfff"}).encode()
        api.refused("POST", "/auth/login", body, status=401, code=401001, headers={})

    @pytest.mark.parametrize("body", [b"", b"[]", b"nothing", b'{"username":'])
    def test_what_is_no_json_object_is_refused(self, api, body):
        api.refused("POST", "/auth/login", body, status=400, code=400001, headers={})

    def test_without_an_administrator_nobody_logs_in(self, make_api):
        api = make_api(EXTENSION_EVENTHOS_ADMIN_USER="", EXTENSION_EVENTHOS_ADMIN_PASSWORD="")
        api.refused("POST", "/auth/login", ADMIN, status=401, code=401001, headers={})
        nothing = {"username": "", "password": ""}
        api.refused("POST", "/auth/login", nothing, status=400, code=400001, headers={})


class TestLock:
    def test_three_failures_lock_a_name_for_three_minutes(self, api):
        with time_machine.travel(datetime.now(UTC), tick=False) as clock:
            assert [log_in(api, WRONG) for _ in range(4)] == [(401, 401001)] * 3 + [LOCKED]
            assert log_in(api, ADMIN) == LOCKED
            clock.shift(timedelta(seconds=179))
            assert log_in(api, ADMIN) == LOCKED
            clock.shift(timedelta(seconds=1))
            assert log_in(api, ADMIN) == (201, 200001)

    def test_a_clock_that_is_set_back_does_not_prolong_the_lock(self, api):
        with time_machine.travel(datetime.now(UTC) + timedelta(days=300), tick=False):
            assert [log_in(api, WRONG) for _ in range(4)][-1] == LOCKED
        assert log_in(api, WRONG) == (401, 401001)
        assert log_in(api, ADMIN)[0] == 201
        with time_machine.travel(datetime.now(UTC) + timedelta(days=300), tick=False):
            log_in(api, WRONG)
        assert forget_failed_logins(api.kit, None) == 1

    def test_the_answer_says_when_to_try_again(self, api):
        with time_machine.travel(datetime.now(UTC), tick=False) as clock:
            assert [log_in(api, WRONG)[1] for _ in range(3)] == [401001] * 3
            clock.shift(timedelta(seconds=60))
            assert api.client.post("/auth/login", json=ADMIN).headers["Retry-After"] == "120"

    def test_failures_far_apart_do_not(self, api):
        with time_machine.travel(datetime.now(UTC), tick=False) as clock:
            for _ in range(5):
                assert log_in(api, WRONG) == (401, 401001)
                clock.shift(timedelta(minutes=3))
            assert log_in(api, ADMIN) == (201, 200001)

    def test_a_right_password_ends_the_count(self, api):
        tries = [WRONG, WRONG, ADMIN, WRONG, WRONG, ADMIN]
        assert [log_in(api, body)[0] for body in tries] == [401, 401, 201, 401, 401, 201]

    def test_unknown_names_are_locked_alike_and_others_are_not(self, api):
        unknown = {"username": "nobody", "password": "x"}
        assert [log_in(api, unknown) for _ in range(4)] == [(401, 401001)] * 3 + [LOCKED]
        assert log_in(api, ADMIN) == (201, 200001)

    def test_nobody_locks_a_name_for_others(self, api):
        assert [log_in(api, WRONG, "2001:db8::1") for _ in range(4)] == [(401, 401001)] * 3 + [LOCKED]
        assert log_in(api, ADMIN, "2001:db8::ffff") == LOCKED  # the same network, so the same client
        for address in ("2001:db8:1::1", "192.0.2.1"):
            assert log_in(api, ADMIN, address) == (201, 200001)
        assert log_in(api, ADMIN, "2001:db8::1") == LOCKED

    def test_all_processes_count_together(self, api, make_api):
        assert [log_in(each, WRONG) for each in (api, make_api(), api)] == [(401, 401001)] * 3
        assert log_in(make_api(), ADMIN) == LOCKED

    def test_wrong_logins_at_the_same_time_are_no_way_around(self, api):
        barrier = Barrier(8)

        def try_wrong(number):
            barrier.wait(30)
            return log_in(api, WRONG)

        with ThreadPoolExecutor(8) as pool:
            found = sorted(pool.map(try_wrong, range(8)))
        assert found == [(401, 401001)] * 3 + [LOCKED] * 5

    def test_the_token_of_a_password_counts_with_logins(self, api):
        body = grant({"clientId": ADMIN["username"], "clientSecret": "wrong"}, grant_type="password")
        for _ in range(3):
            ask_token(api, body, 401)
        assert log_in(api, ADMIN) == LOCKED
        assert ask_token(api, body, 401)["code"] == 401003

    @pytest.mark.parametrize("client_id", [None, "nobody"], ids=["known", "unknown"])
    def test_clients_are_locked_too(self, api, client_id):
        client = new_client(api)
        wrong = grant(client, client_secret="wrong", client_id=client_id or client["clientId"])
        for _ in range(3):
            ask_token(api, wrong, 404 if client_id else 401)
        assert ask_token(api, {**wrong, "client_secret": client["clientSecret"]}, 401)["code"] == 401003
        assert log_in(api, {**WRONG, "username": wrong["client_id"]}) == (401, 401001)

    def test_old_failures_are_deleted(self, api):
        def stored():
            with api.kit.read() as connection:
                return connection.execute(select(func.count()).select_from(failed_logins)).scalar_one()

        with time_machine.travel(datetime.now(UTC), tick=False) as clock:
            for number in range(3):
                log_in(api, {**WRONG, "username": f"old {number}"})
            clock.shift(timedelta(minutes=2))
            log_in(api, WRONG)
            assert forget_failed_logins(api.kit, None) == 0
            clock.shift(timedelta(minutes=1))
            assert (forget_failed_logins(api.kit, None), stored()) == (3, 1)

    def test_what_was_tried_is_neither_stored_nor_logged(self, api, caplog):
        log_in(api, {"username": "tried-name", "password": "tried-password"})
        with api.kit.read() as connection:
            (row,) = connection.execute(select(failed_logins)).all()
        assert "tried" not in f"{row}{caplog.text}"


class TestTokens:
    def test_a_client_gets_one_for_its_secret(self, api):
        client = new_client(api)
        content = ask_token(api, grant(client))["content"]
        headers = {"Authorization": f"BEARER {content.pop('jwt_token')}"}
        api.refused("GET", "/auth/client", status=401, code=401002, headers=headers)  # known, without the permission
        assert content == {
            "name": "ERP",
            "description": "sends orders",
            "client_id": client["id"],
            "identifier": "erp",
            "roles": [{"id": 2, "identifier": "operator"}],
        }

    @pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "multipart/form-data"])
    def test_a_form_is_taken_like_json(self, api, content_type):
        body = grant(new_client(api))
        reply = api.client.post("/auth/token", data=body, content_type=content_type)
        assert (reply.status_code, reply.json["code"]) == (201, 200001)

    def test_the_administrator_gets_one_for_the_password(self, api):
        body = grant({"clientId": ADMIN["username"], "clientSecret": ADMIN["password"]}, grant_type="password")
        content = ask_token(api, body)["content"]
        assert api.ask("GET", "/auth/client", headers={"Authorization": f"BEARER {content.pop('jwt_token')}"})
        roles = [{"id": 1, "identifier": "admin"}]
        assert content == {
            "name": "admin",
            "description": "",
            "client_id": 1,
            "identifier": "admin",
            "roles": roles,
        }

    @pytest.mark.parametrize("name", ["grant_type", "client_id", "client_secret"])
    @pytest.mark.parametrize("value", [None, "", "a\x00", 7])
    @pytest.mark.parametrize("kind", ["client_credentials", "password"])
    def test_all_three_values_are_needed(self, api, name, value, kind):
        body = {"grant_type": kind, "client_id": "a", "client_secret": "b", name: value}
        message = api.refused("POST", "/auth/token", body, status=400, code=400001, headers={})
        assert message.startswith(f"{name}: ")

    @pytest.mark.parametrize("value", ["", "a\x00", "x" * 1001])
    def test_they_are_needed_in_forms_too(self, api, value):
        reply = api.client.post("/auth/token", data={"grant_type": "password", "client_id": value})
        assert (reply.status_code, reply.json["code"]) == (400, 400001)
        assert reply.json["message"] == "client_id, client_secret: missing, empty, too long or with U+0000"

    def test_forms_of_any_bytes_are_refused(self, api):
        for sent in (
            b"\xff\xfe=\xff&grant_type=%FF%00",
            b"&&&===",
            b"client_id=%ED%A0%80&grant_type=a&client_secret=b",
        ):
            reply = api.client.post("/auth/token", data=sent, content_type="application/x-www-form-urlencoded")
            assert reply.status_code == 400

    def test_other_grants_are_refused(self, api):
        body = grant(new_client(api), grant_type="refresh_token")
        api.refused("POST", "/auth/token", body, status=400, code=400002, headers={})

    def test_a_wrong_secret_is_refused(self, profile):
        api, codes = profile
        body = grant(new_client(api), client_secret="wrong")
        api.refused("POST", "/auth/token", body, status=401, code=codes["unknown"], headers={})

    def test_an_unknown_or_deleted_client_is_not_found(self, profile):
        api, codes = profile
        client = new_client(api)
        api.ask("DELETE", f"/auth/client/{client['id']}", status=201)
        for body in (grant(client), grant(client, client_id="nobody")):
            api.refused("POST", "/auth/token", body, status=404, code=codes["unknown"], headers={})

    @pytest.mark.parametrize("changes", [{"client_id": "nobody"}, {"client_secret": "wrong"}], ids=["name", "password"])
    def test_a_wrong_user_is_refused_without_telling_whether_the_name_exists(self, profile, changes):
        api, codes = profile
        admin = {"clientId": ADMIN["username"], "clientSecret": ADMIN["password"]}
        body = grant(admin, grant_type="password", **changes)
        api.refused("POST", "/auth/token", body, status=401, code=codes["unknown"], headers={})

    def test_a_long_live_client_gets_none(self, profile):
        api, codes = profile
        client = new_client(api, longLive="true")
        message = api.refused("POST", "/auth/token", grant(client), status=403, code=codes["long_live"], headers={})
        assert message == "Client can not generate short live token"

    def test_one_whose_keys_were_revoked_does(self, api):
        client = new_client(api, longLive="true")
        api.ask("PUT", f"/auth/client/{client['id']}/long-live", {"longLive": False}, status=201)
        ask_token(api, grant(client))

    def test_a_revoked_client_gets_none(self, api):
        client = new_client(api)
        api.ask("PUT", f"/auth/client/{client['id']}/revoke", {}, status=201)
        api.refused("POST", "/auth/token", grant(client), status=403, code=403003, headers={})

    def test_secrets_are_not_logged(self, api, caplog):
        client = new_client(api)
        token = ask_token(api, grant(client))["content"]["jwt_token"]
        ask_token(api, grant(client, client_secret="a-wrong-secret"), 401)
        for secret in (client["clientSecret"], token, "a-wrong-secret"):
            assert secret not in caplog.text
