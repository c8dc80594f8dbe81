"""Clients: their secrets, keys, roles and pages (eventhos, management API: /auth/client)."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from sqlalchemy import select

from extensions.eventhos.tables import clients, keys
from tests.extensions.eventhos.api import ADMIN

ERP = {"identifier": "erp", "name": "ERP", "description": "sends orders", "roles": [{"id": 2}]}
NO_ID = ["0", "999", "9" * 18]


def create(api, *, status=201, body=ERP, **query):
    return api.ask("POST", "/auth/client", body, status=status, **query)["content"]


def items(api, path="/auth/client", **query):
    return api.ask("GET", path, **query)["content"]["items"]


def get(api, made):
    return api.ask("GET", f"/auth/client/{made['id']}")["content"]


def put(api, made, part, body):
    return api.ask("PUT", f"/auth/client/{made['id']}{part}", body, status=201)


class TestCreation:
    def test_a_client_gets_an_id_and_a_secret(self, api):
        made = create(api)
        assert made.keys() == {"id", "clientId", "clientSecret"}
        assert re.fullmatch(r"[A-Za-z0-9]{20}::usil\.app", made["clientId"])
        assert len(made["clientSecret"]) >= 40

    def test_and_a_key_if_it_is_long_live(self, api):
        made = create(api, longLive="true")
        assert made.keys() == {"id", "clientId", "clientSecret", "access_token"}
        assert get(api, made)["longLive"] is True

    @pytest.mark.parametrize("value", ["false", "", "1"])
    def test_other_values_of_the_parameter_make_none(self, api, value):
        assert "access_token" not in create(api, longLive=value)

    def test_description_and_roles_may_be_missing_and_further_keys_are_ignored(self, api):
        shown = get(api, create(api, body={"identifier": "erp", "name": "ERP", "subjectType": "client"}))
        assert (shown["description"], shown["roles"]) == ("", [])

    @pytest.mark.parametrize(
        "changes",
        [
            {"identifier": None},
            {"identifier": ""},
            {"identifier": "x" * 101},
            {"identifier": "a\x00b"},
            {"identifier": 7},
            {"name": ""},
            {"name": "x" * 101},
            {"name": "a\x00"},
            {"description": "x" * 10_001},
            {"description": "\x00"},
            {"roles": 2},
            {"roles": [2]},
            {"roles": [{}]},
            {"roles": [{"id": "two"}]},
            {"roles": [{"id": 1.5}]},
            {"roles": [{"id": True}]},
            {"roles": [{"id": 10**30}]},
            {"roles": [{"id": None}]},
            {"roles": [{"id": 1}] * 101},
        ],
        ids=lambda changes: f"{changes!s:.30}",
    )
    def test_a_bad_body_is_refused_with_the_key_and_nothing_is_stored(self, api, changes):
        message = api.refused("POST", "/auth/client", {**ERP, **changes}, status=400, code=400001)
        assert message.startswith(next(iter(changes)))
        assert items(api) == []

    @pytest.mark.parametrize("id", [0, 4, -1, 2**63])
    def test_an_unknown_role_is_not_found(self, api, id):
        message = api.refused("POST", "/auth/client", {**ERP, "roles": [{"id": id}]}, status=404, code=404103)
        assert message == f"The role {id} does not exist: GET /auth/role lists them"
        assert items(api) == []

    def test_lone_surrogates_are_replaced(self, api):
        made = create(api, body=json.dumps({**ERP, "name": "a\ud800"}).encode())
        assert get(api, made)["name"] == "a\ufffd"

    @pytest.mark.parametrize("body", [None, b"", b"[]", b"{"])
    def test_what_is_no_json_object_is_refused(self, api, body):
        api.refused("POST", "/auth/client", body, status=400, code=400001)


class TestReading:
    def test_a_client_is_shown_without_secrets(self, api):
        made = create(api, longLive="true")
        shown = get(api, made)
        created, updated = shown.pop("created_at"), shown.pop("updated_at")
        assert datetime.fromisoformat(created) == datetime.fromisoformat(updated)
        assert shown == {
            "id": made["id"],
            "identifier": "erp",
            "clientId": made["clientId"],
            "name": "ERP",
            "description": "sends orders",
            "revoked": False,
            "longLive": True,
            "roles": [{"id": 2, "identifier": "operator"}],
        }

    def test_the_secret_can_be_read(self, api):
        made = create(api)
        content = api.ask("GET", f"/auth/client/{made['id']}/secret")["content"]
        assert content == {"client_secret": made["clientSecret"]}

    def test_neither_secrets_nor_keys_are_stored_in_clear(self, api):
        made = create(api, longLive="true")
        with api.kit.read() as connection:
            stored = f"{connection.execute(select(clients)).all()}{connection.execute(select(keys)).all()}"
        assert made["clientSecret"] not in stored
        assert made["access_token"] not in stored

    def test_secrets_are_neither_in_the_log_nor_in_other_answers(self, api, caplog):
        made = create(api, longLive="true")
        further = put(api, made, "/long-live", {"longLive": True})["content"]["access_token"]
        path = f"/auth/client/{made['id']}"
        shown = [api.ask("GET", each) for each in (path, "/auth/client", f"{path}/keys")]
        for secret in (made["clientSecret"], made["access_token"], further, ADMIN["password"]):
            assert secret not in caplog.text
            assert secret not in json.dumps(shown)

    def test_a_secret_is_read_with_the_key_that_encrypted_it_during_a_rotation(self, make_api):
        first, second = "the first secret that encrypts requests", "the second secret that encrypts requests"
        made = create(make_api(EXTENSION_EVENTHOS_CRYPTO_KEY=first))
        api = make_api(EXTENSION_EVENTHOS_CRYPTO_KEY=f"{second},{first}")
        content = api.ask("GET", f"/auth/client/{made['id']}/secret")["content"]
        assert content == {"client_secret": made["clientSecret"]}

    def test_roles_are_listed(self, api):
        content = api.ask("GET", "/auth/role")["content"]
        assert {name: value for name, value in content.items() if name != "items"} == {
            "pageIndex": 0,
            "itemsPerPage": 3,
            "totalItems": 3,
            "totalPages": 1,
        }
        assert [(role["id"], role["identifier"]) for role in content["items"]] == [
            (1, "admin"),
            (2, "operator"),
            (3, "viewer"),
        ]
        assert [role["permissions"] for role in content["items"]] == [
            ["OAUTH2_global:*"],
            ["event:*", "system:*", "action:*", "contract:*"],
            ["event:select", "system:select", "action:select", "contract:select"],
        ]


class TestPages:
    @pytest.fixture
    def seven(self, api):
        """Seven clients, created in the order of their numbers, with names in another."""
        return [create(api, body={"identifier": f"i{number}", "name": name}) for number, name in enumerate("gbcbefa")]

    def test_five_items_are_on_the_first_of_two(self, api, seven):
        content = api.ask("GET", "/auth/client")["content"]
        assert [item["id"] for item in content.pop("items")] == [made["id"] for made in seven[:5]]
        assert content == {"pageIndex": 0, "itemsPerPage": 5, "totalItems": 7, "totalPages": 2}

    def test_an_index_and_a_number_of_items_select_one(self, api, seven):
        content = api.ask("GET", "/auth/client", pageIndex="2", itemsPerPage="3")["content"]
        assert [item["id"] for item in content.pop("items")] == [seven[6]["id"]]
        assert content == {"pageIndex": 2, "itemsPerPage": 3, "totalItems": 7, "totalPages": 3}

    def test_behind_the_last_there_is_an_empty_one(self, api, seven):
        content = api.ask("GET", "/auth/client", pageIndex=str(2**31 - 1), itemsPerPage="100")["content"]
        assert content == {
            "items": [],
            "pageIndex": 2**31 - 1,
            "itemsPerPage": 100,
            "totalItems": 7,
            "totalPages": 1,
        }

    @pytest.mark.parametrize("number", ["101", str(10**9), str(2**64), "9" * 1000], ids=len)
    def test_one_has_at_most_a_hundred_items(self, api, seven, number):
        content = api.ask("GET", "/auth/client", itemsPerPage=number)["content"]
        assert (len(content["items"]), content["itemsPerPage"]) == (7, 100)

    def test_without_items_there_is_none(self, api):
        content = api.ask("GET", "/auth/client")["content"]
        assert content == {"items": [], "pageIndex": 0, "itemsPerPage": 5, "totalItems": 0, "totalPages": 0}

    @pytest.mark.parametrize(
        ("query", "order"),
        [
            ({}, [0, 1, 2, 3, 4, 5, 6]),
            ({"order": "desc"}, [6, 5, 4, 3, 2, 1, 0]),
            ({"activeSort": "name"}, [6, 1, 3, 2, 4, 5, 0]),
            ({"activeSort": "name", "order": "DESC"}, [0, 5, 4, 2, 3, 1, 6]),
            ({"activeSort": "created_at", "order": "asc"}, [0, 1, 2, 3, 4, 5, 6]),
        ],
        ids=str,
    )
    def test_they_are_sorted(self, api, seven, query, order):
        found = [item["id"] for item in items(api, itemsPerPage="7", **query)]
        assert found == [seven[place]["id"] for place in order]

    @pytest.mark.parametrize(
        "query",
        [
            {"itemsPerPage": "0"},
            {"itemsPerPage": "-5"},
            {"itemsPerPage": "٣"},
            {"itemsPerPage": "9" * 5000},
            {"pageIndex": "-1"},
            {"pageIndex": "1.5"},
            {"pageIndex": str(2**63)},
            {"pageIndex": "\x00"},
            {"order": "sideways"},
            {"activeSort": "secret"},
            {"activeSort": "id; DROP TABLE eventhos_clients"},
            {"activeSort": "\x00"},
        ],
        ids=lambda query: f"{query!s:.40}",
    )
    def test_impossible_values_fall_back(self, api, seven, query):
        content = api.ask("GET", "/auth/client", **query)["content"]
        assert [item["id"] for item in content["items"]] == [made["id"] for made in seven[:5]]
        assert (content["pageIndex"], content["itemsPerPage"]) == (0, 5)


class TestChanges:
    def test_name_description_and_roles_change(self, api):
        made = create(api)
        before = get(api, made)
        body = {"name": "New", "description": "", "roles": [{"id": 1}, {"id": 3}], "identifier": "ignored"}
        assert put(api, made, "", body) == {"code": 200001, "message": "success"}
        after = get(api, made)
        roles = [{"id": 1, "identifier": "admin"}, {"id": 3, "identifier": "viewer"}]
        changed = {"name": "New", "description": "", "roles": roles, "updated_at": after["updated_at"]}
        assert after == {**before, **changed}
        assert datetime.fromisoformat(after["updated_at"]) > datetime.fromisoformat(before["updated_at"])

    def test_what_is_not_sent_stays(self, api):
        made = create(api)
        put(api, made, "", {"name": "New"})
        shown = get(api, made)
        assert (shown["name"], shown["description"]) == ("New", "sends orders")
        assert [role["id"] for role in shown["roles"]] == [2]

    @pytest.mark.parametrize(
        ("changes", "status", "code"),
        [
            ({"name": ""}, 400, 400001),
            ({"name": "a\x00"}, 400, 400001),
            ({"description": 7}, 400, 400001),
            ({"roles": [{"id": 9}]}, 404, 404103),
        ],
        ids=str,
    )
    def test_a_bad_body_changes_nothing(self, api, changes, status, code):
        made = create(api)
        before = get(api, made)
        sent = {"name": "New", **changes}
        api.refused("PUT", f"/auth/client/{made['id']}", sent, status=status, code=code)
        assert get(api, made) == before

    def test_a_client_is_revoked_and_rectified(self, api):
        made = create(api)
        for body, revoked in [({}, True), ({"revoke": False}, False), ({"revoke": True}, True)]:
            put(api, made, "/revoke", body)
            assert get(api, made)["revoked"] is revoked

    @pytest.mark.parametrize("value", ["yes", None, 2, [], {}])
    def test_a_revocation_is_true_or_false(self, api, value):
        made = create(api)
        body = {"revoke": value}
        api.refused("PUT", f"/auth/client/{made['id']}/revoke", body, status=400, code=400001)
        assert get(api, made)["revoked"] is False

    def test_a_deleted_client_is_gone(self, api):
        gone, other = create(api), create(api)
        path = f"/auth/client/{gone['id']}"
        assert api.ask("DELETE", path, status=201) == {"code": 200001, "message": "success"}
        assert [item["id"] for item in items(api)] == [other["id"]]
        api.refused("GET", path, status=404, code=404100)
        api.refused("DELETE", path, status=404, code=404100)


class TestKeys:
    def test_a_key_is_shown_once_and_listed_by_its_times(self, api):
        made = create(api)
        with time_machine.travel(datetime.now(UTC), tick=False):
            content = put(api, made, "/long-live", {"longLive": True, "expiresInDays": 30})["content"]
            (listed,) = items(api, f"/auth/client/{made['id']}/keys")
        assert content.keys() == {"access_token"}
        assert listed.keys() == {"id", "created_at", "expires_at", "revoked_at"}
        created, expires = (datetime.fromisoformat(listed[name]) for name in ("created_at", "expires_at"))
        assert (expires - created, listed["revoked_at"]) == (timedelta(days=30), None)

    def test_one_is_revoked(self, api):
        made = create(api, longLive="true")
        put(api, made, "/long-live", {"longLive": True})
        path = f"/auth/client/{made['id']}/keys"
        first, second = items(api, path)
        api.ask("DELETE", f"{path}/{first['id']}", status=201)
        after = items(api, path)
        assert [key["id"] for key in after if key["revoked_at"]] == [first["id"]]
        assert [key for key in after if not key["revoked_at"]] == [second]
        api.refused("DELETE", f"{path}/{first['id']}", status=404, code=404102)
        assert items(api, path) == after

    def test_all_are_revoked(self, api):
        made, other = create(api, longLive="true"), create(api, longLive="true")
        put(api, made, "/long-live", {"longLive": True})
        assert put(api, made, "/long-live", {"longLive": False}) == {"code": 200001, "message": "success"}
        assert all(key["revoked_at"] for key in items(api, f"/auth/client/{made['id']}/keys"))
        assert [get(api, each)["longLive"] for each in (made, other)] == [False, True]

    def test_those_of_other_clients_are_not_found(self, api):
        made, other = create(api), create(api, longLive="true")
        (key,) = items(api, f"/auth/client/{other['id']}/keys")
        api.refused("DELETE", f"/auth/client/{made['id']}/keys/{key['id']}", status=404, code=404102)
        assert get(api, other)["longLive"] is True

    def test_a_client_has_100_at_most_also_of_requests_at_the_same_time(self, api):
        made = create(api)
        path = f"/auth/client/{made['id']}/long-live"
        headers = {"Authorization": f"BEARER {api.token}"}

        def ask(number):
            client = api.client.application.test_client()
            reply = client.put(path, json={"longLive": True}, headers=headers)
            return reply.status_code, reply.json["code"]

        with ThreadPoolExecutor(4) as pool:
            found = sorted(pool.map(ask, range(104)))
        assert found == [(201, 200001)] * 100 + [(400, 400102)] * 4
        put(api, made, "/long-live", {"longLive": False})
        put(api, made, "/long-live", {"longLive": True})

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"longLive": "yes"},
            {"longLive": None},
            {"longLive": True, "expiresInDays": 0},
            {"longLive": True, "expiresInDays": 3651},
            {"longLive": True, "expiresInDays": 10**30},
            {"longLive": True, "expiresInDays": 1.5},
            {"longLive": True, "expiresInDays": "soon"},
        ],
        ids=str,
    )
    def test_a_bad_body_makes_none(self, api, body):
        made = create(api)
        api.refused("PUT", f"/auth/client/{made['id']}/long-live", body, status=400, code=400001)
        assert get(api, made)["longLive"] is False


@pytest.mark.parametrize("id", NO_ID, ids=str)
class TestUnknownNumbers:
    @pytest.mark.parametrize(
        ("method", "part", "body"),
        [
            ("GET", "", None),
            ("GET", "/secret", None),
            ("GET", "/keys", None),
            ("PUT", "", {"name": "New"}),
            ("PUT", "/revoke", {}),
            ("PUT", "/long-live", {"longLive": True}),
            ("PUT", "/long-live", {"longLive": False}),
            ("DELETE", "", None),
            ("DELETE", "/keys/1", None),
        ],
    )
    def test_a_client_is_not_found(self, api, id, method, part, body):
        made = create(api)
        number = str(made["id"] + 1) if id == "999" else id
        message = api.refused(method, f"/auth/client/{number}{part}", body, status=404, code=404100)
        assert message == f"The client does not exist: {number}"

    def test_a_key_is_not_found(self, api, id):
        made = create(api, longLive="true")
        (key,) = items(api, f"/auth/client/{made['id']}/keys")
        number = str(key["id"] + 1) if id == "999" else id
        message = api.refused("DELETE", f"/auth/client/{made['id']}/keys/{number}", status=404, code=404102)
        assert f"no key {number} " in message


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/auth/role"),
        ("POST", "/auth/client"),
        ("GET", "/auth/client"),
        ("GET", "/auth/client/1"),
        ("GET", "/auth/client/1/secret"),
        ("GET", "/auth/client/1/keys"),
        ("PUT", "/auth/client/1"),
        ("PUT", "/auth/client/1/revoke"),
        ("PUT", "/auth/client/1/long-live"),
        ("DELETE", "/auth/client/1"),
        ("DELETE", "/auth/client/1/keys/1"),
    ],
)
def test_nobody_gets_in_without_the_permission(api, method, path):
    api.refused(method, path, status=403, code=403002, headers={})
    made = create(api, body={**ERP, "roles": [{"id": 2}, {"id": 3}]})
    grant = {"grant_type": "client_credentials", "client_id": made["clientId"], "client_secret": made["clientSecret"]}
    token = api.ask("POST", "/auth/token", grant, status=201, headers={})["content"]["jwt_token"]
    api.refused(method, path, status=401, code=401002, headers={"Authorization": f"BEARER {token}"})
