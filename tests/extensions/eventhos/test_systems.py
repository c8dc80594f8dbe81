"""Systems: creation with and without a client, lists by class, changes and deletion."""

import re

import pytest

from extensions.eventhos.tables import clients, systems
from tests.extensions.eventhos.managing import (
    LARGEST_OF_PATH,
    NUL,
    TOO_LARGE,
    at_once,
    items,
    new_action,
    new_client,
    new_event,
    new_system,
    row,
)

UNKNOWN_CLIENT = {"documented": 400024, "upstream": 400301}
NEW = {"systemClass": "producer", "identifier": "hr", "name": "HR", "type": "ERP", "description": "people"}


class TestCreation:
    def test_the_answer_has_its_own_code_and_message(self, api):
        made = api.ask("POST", "/system", NEW, status=201)
        assert made["code"] == 20001
        assert made["message"] == "New system created"
        assert made["content"].keys() == {"systemId"}

    def test_without_a_client_the_identifier_is_as_it_was_given(self, api):
        id = api.ask("POST", "/system", NEW, status=201)["content"]["systemId"]
        shown = api.ask("GET", f"/system/{id}")["content"]
        times = shown.pop("created_at"), shown.pop("updated_at")
        assert shown == {
            "id": id,
            "class": "producer",
            "identifier": "hr",
            "name": "HR",
            "type": "ERP",
            "description": "people",
            "client_id": None,
            "deleted": 0,
        }
        assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", time) for time in times)

    def test_with_a_client_it_gets_a_suffix(self, api):
        client = new_client(api)
        id = new_system(api, identifier="hr", clientId=client)
        shown = api.ask("GET", f"/system/{id}")["content"]
        assert re.fullmatch(r"hr-[A-Za-z0-9]{10}", shown["identifier"])
        assert shown["client_id"] == client

    def test_a_client_may_be_named_by_its_client_id_or_by_its_number_as_a_text(self, api):
        client = new_client(api)
        id = new_system(api, clientId=str(client))
        assert api.ask("GET", f"/system/{id}")["content"]["client_id"] == client
        client = new_client(api)
        id = new_system(api, clientId=row(api, clients, client).client_id)
        assert api.ask("GET", f"/system/{id}")["content"]["client_id"] == client

    @pytest.mark.parametrize("nothing", [None, "", 0], ids=repr)
    def test_an_empty_client_is_none(self, api, nothing):
        assert api.ask("GET", f"/system/{new_system(api, clientId=nothing)}")["content"]["client_id"] is None

    def test_an_unknown_client_is_refused_with_the_code_of_the_profile(self, shared_apis, database, profile):
        api, code = shared_apis(EXTENSION_EVENTHOS_PROFILE=profile), UNKNOWN_CLIENT[profile]
        deleted = new_client(api, deleted=True)
        for unknown in (deleted, 10**9, TOO_LARGE - 1, "nobody::usil.app"):
            api.refused("POST", "/system", {**NEW, "clientId": unknown}, status=404, code=code)
        assert items(api, "/system") == []

    def test_a_client_has_one_system_only(self, api):
        client = new_client(api)
        new_system(api, clientId=client)
        api.refused("POST", "/system", {**NEW, "clientId": client}, status=400, code=400304)
        other = new_system(api)
        api.refused("PUT", f"/system/{other}", {"clientId": client}, status=400, code=400304)

    def test_a_client_has_one_system_only_also_if_several_are_created_at_once(self, api):
        body = {**NEW, "clientId": new_client(api)}
        statuses = at_once(api, [("POST", "/system", body)] * 8)
        assert sorted(statuses) == [201, *[400] * 7]

    def test_an_identifier_that_exists_is_refused_also_after_a_deletion(self, api):
        id = new_system(api, identifier="hr")
        api.refused("POST", "/system", NEW, status=400, code=400307)
        api.ask("DELETE", f"/system/{id}", status=201)
        api.refused("POST", "/system", NEW, status=400, code=400307)

    @pytest.mark.parametrize(
        ("wrong", "named"),
        [
            ({"systemClass": "other"}, "systemClass"),
            ({"systemClass": ["producer"]}, "systemClass"),
            ({"identifier": ""}, "identifier"),
            ({"identifier": "a b"}, "identifier"),
            ({"identifier": "a" * 65}, "identifier"),
            ({"identifier": NUL}, "identifier"),
            ({"identifier": 7}, "identifier"),
            ({"name": ""}, "name"),
            ({"name": None}, "name"),
            ({"name": "a" * 101}, "name"),
            ({"name": NUL}, "name"),
            ({"type": "a" * 46}, "type"),
            ({"type": NUL}, "type"),
            ({"description": NUL}, "description"),
            ({"description": "a" * 10_001}, "description"),
            ({"clientId": TOO_LARGE}, "clientId"),
            ({"clientId": -1}, "clientId"),
            ({"clientId": "9" * 5000}, "clientId"),
            ({"clientId": NUL}, "clientId"),
            ({"clientId": {"a": 1}}, "clientId"),
            ({"clientId": False}, "clientId"),
            ({"clientId": 1.5}, "clientId"),
            ({"clientId": "²"}, "clientId"),
        ],
        ids=lambda each: f"{each}"[:40],
    )
    def test_a_malformed_body_is_refused_with_the_name_of_the_key(self, api, wrong, named):
        assert named in api.refused("POST", "/system", {**NEW, **wrong}, status=400, code=400305)
        id = new_system(api)
        before = api.ask("GET", f"/system/{id}")
        if named != "identifier":
            assert named in api.refused("PUT", f"/system/{id}", wrong, status=400, code=400305)
        assert api.ask("GET", f"/system/{id}") == before
        assert len(items(api, "/system")) == 1

    @pytest.mark.parametrize("missing", ["systemClass", "identifier", "name"])
    def test_a_missing_key_is_named(self, api, missing):
        body = {key: value for key, value in NEW.items() if key != missing}
        assert missing in api.refused("POST", "/system", body, status=400, code=400305)

    @pytest.mark.parametrize("body", [b"", b"{", b"[]", b"7", b"null", b"\xff"], ids=repr)
    def test_what_is_no_json_object_is_refused(self, api, body):
        api.refused("POST", "/system", body, status=400, code=400305)

    def test_half_characters_are_repaired(self, api):
        body = b'{"systemClass": "hybrid", "identifier": "half", "name": "a\\ud800"}'
        id = api.ask("POST", "/system", body, status=201)["content"]["systemId"]
        assert api.ask("GET", f"/system/{id}")["content"]["name"] == "a\ufffd"


class TestLists:
    def test_a_class_includes_hybrid_systems_and_no_deleted_ones(self, api):
        ids = {each: new_system(api, each) for each in ("producer", "consumer", "hybrid")}
        for each in ("producer", "consumer", "hybrid"):
            api.ask("DELETE", f"/system/{new_system(api, each)}", status=201)

        def listed(**query):
            return {each["id"] for each in items(api, "/system", **query)}

        assert listed() == set(ids.values())
        assert listed(systemClass="producer") == {ids["producer"], ids["hybrid"]}
        assert listed(systemClass="consumer") == {ids["consumer"], ids["hybrid"]}
        assert listed(systemClass="hybrid") == {ids["hybrid"]}
        assert listed(systemClass=NUL) == set(ids.values())

    def test_a_producer_that_becomes_a_consumer_is_no_longer_offered_for_events(self, api):
        id = new_system(api, "producer")
        assert items(api, "/system", systemClass="producer") != []
        api.ask("PUT", f"/system/{id}", {"systemClass": "consumer"}, status=201)
        assert items(api, "/system", systemClass="producer") == []

    def test_they_have_pages_in_an_order(self, api):
        ids = [new_system(api, name=name) for name in "cab"]
        content = api.ask("GET", "/system", itemsPerPage=2, pageIndex=1, activeSort="name", order="desc")["content"]
        assert [each["id"] for each in content.pop("items")] == [ids[1]]
        assert content == {"pageIndex": 1, "itemsPerPage": 2, "totalItems": 3, "totalPages": 2}

    @pytest.mark.parametrize("sort", ["id", "class", "client_id", "deleted", "created_at", "nothing", NUL], ids=repr)
    def test_any_column_or_none_may_sort_them(self, api, sort):
        id = new_system(api)
        assert [each["id"] for each in items(api, "/system", activeSort=sort, itemsPerPage=10**9)] == [id]

    def test_events_and_actions_of_a_system_are_listed(self, api):
        system = new_system(api)
        event, action = new_event(api, system), new_action(api, system)
        api.ask("DELETE", f"/event/{new_event(api, system)}", status=201)
        api.ask("DELETE", f"/action/{new_action(api, system)}", status=201)
        columns = {
            "id",
            "system_id",
            "identifier",
            "name",
            "operation",
            "description",
            "deleted",
            "created_at",
            "updated_at",
        }
        for path, id in ((f"/system/{system}/events", event), (f"/system/{system}/actions", action)):
            (shown,) = api.ask("GET", path)["content"]
            assert (shown["id"], shown["system_id"]) == (id, system)
            assert shown.keys() == columns


class TestChanges:
    def test_keys_that_are_sent_change_and_others_stay(self, api):
        client = new_client(api)
        id = new_system(api, clientId=client, description="old")
        before = api.ask("GET", f"/system/{id}")["content"]
        done = api.ask("PUT", f"/system/{id}", {"name": "new", "unknown": 1, "identifier": "x", "id": 7}, status=201)
        assert done == {"code": 200001, "message": "success"}
        after = api.ask("GET", f"/system/{id}")["content"]
        assert {**after, "updated_at": ""} == {**before, "name": "new", "updated_at": ""}

    def test_a_client_can_be_given_kept_and_taken_away(self, api):
        client, id = new_client(api), new_system(api)
        for sent, expected in ((client, client), (client, client), (None, None)):
            api.ask("PUT", f"/system/{id}", {"clientId": sent}, status=201)
            assert api.ask("GET", f"/system/{id}")["content"]["client_id"] == expected

    def test_an_unknown_client_is_refused_with_the_code_of_the_profile(self, shared_apis, database, profile):
        api = shared_apis(EXTENSION_EVENTHOS_PROFILE=profile)
        path, code = f"/system/{new_system(api)}", UNKNOWN_CLIENT[profile]
        api.refused("PUT", path, {"clientId": 10**9}, status=404, code=code)


class TestDeletion:
    def test_one_with_events_or_actions_stays(self, api):
        system = new_system(api)
        event, action = new_event(api, system), new_action(api, system)
        api.refused("DELETE", f"/system/{system}", status=400, code=400302)
        api.ask("DELETE", f"/event/{event}", status=201)
        api.refused("DELETE", f"/system/{system}", status=400, code=400303)
        api.ask("DELETE", f"/action/{action}", status=201)
        assert api.ask("DELETE", f"/system/{system}", status=201) == {"code": 200001, "message": "success"}
        assert row(api, systems, system).deleted

    def test_its_client_is_free_for_another_system(self, api):
        client = new_client(api)
        api.ask("DELETE", f"/system/{new_system(api, clientId=client)}", status=201)
        new_system(api, clientId=client)


@pytest.mark.parametrize("id", [0, 10**9, LARGEST_OF_PATH, "deleted"], ids=str)
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("GET", "/events"), ("GET", "/actions"), ("PUT", ""), ("DELETE", "")],
)
def test_an_unknown_or_deleted_system_is_not_found(api, id, method, path):
    if id == "deleted":
        id = new_system(api)
        api.ask("DELETE", f"/system/{id}", status=201)
    body = {"name": "new"} if method == "PUT" else None
    api.refused(method, f"/system/{id}{path}", body, status=404, code=404301)


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", ""), ("GET", ""), ("GET", "/1"), ("GET", "/1/events"), ("PUT", "/1"), ("DELETE", "/1")],
)
def test_a_token_is_needed(api, method, path):
    api.refused(method, f"/system{path}", status=403, code=403002, headers={})
