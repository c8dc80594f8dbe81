"""Events that systems may send: creation, lists, changes and deletion."""

import re

import pytest

from extensions.eventhos.tables import events
from tests.extensions.eventhos.managing import (
    LARGEST_OF_PATH,
    NUL,
    TOO_LARGE,
    items,
    new_contract,
    new_event,
    new_system,
    row,
)


def new(api, **more):
    return {"system_id": new_system(api), "identifier": "new-employee", "name": "New employee", **more}


class TestCreation:
    def test_the_identifier_gets_a_suffix(self, api):
        body = new(api, operation="new", description="of the company")
        made = api.ask("POST", "/event", body, status=201)
        id = made["content"]["eventId"]
        assert made == {"code": 200001, "message": "success", "content": {"eventId": id}}
        (shown,) = items(api, "/event")
        assert re.fullmatch(r"new-employee-[A-Za-z0-9]{10}", shown.pop("identifier"))
        assert shown.pop("created_at") == shown.pop("updated_at")
        assert shown == {
            "id": id,
            "system_id": body["system_id"],
            "name": "New employee",
            "operation": "new",
            "description": "of the company",
            "deleted": 0,
        }

    def test_the_same_identifier_may_be_given_twice(self, api):
        new_event(api, identifier="same")
        new_event(api, identifier="same")
        assert len({each["identifier"] for each in items(api, "/event")}) == 2

    def test_the_longest_identifier_can_be_kept(self, api):
        id = new_event(api, identifier="a_.:-" * 12 + "bcde")
        assert len(row(api, events, id).identifier) == 75

    def test_keys_without_a_value_are_empty(self, api):
        new_event(api, operation=None)
        (shown,) = items(api, "/event")
        assert (shown["operation"], shown["description"]) == ("", "")

    @pytest.mark.parametrize("system", [10**9, TOO_LARGE - 1, "10000000000"], ids=str)
    def test_an_unknown_system_is_not_found(self, api, system):
        api.refused("POST", "/event", new(api, system_id=system), status=404, code=404301)

    def test_a_deleted_system_is_not_found(self, api):
        system = new_system(api)
        api.ask("DELETE", f"/system/{system}", status=201)
        api.refused("POST", "/event", new(api, system_id=system), status=404, code=404301)

    def test_a_consumer_sends_no_events(self, api):
        body = new(api, system_id=new_system(api, "consumer"))
        assert "consumer" in api.refused("POST", "/event", body, status=400, code=400306)
        assert items(api, "/event") == []

    @pytest.mark.parametrize(
        ("wrong", "named"),
        [
            ({"system_id": None}, "system_id"),
            ({"system_id": TOO_LARGE}, "system_id"),
            ({"system_id": 0}, "system_id"),
            ({"system_id": True}, "system_id"),
            ({"system_id": 1.5}, "system_id"),
            ({"system_id": "a"}, "system_id"),
            ({"system_id": [1]}, "system_id"),
            ({"identifier": "a/b"}, "identifier"),
            ({"identifier": "a" * 65}, "identifier"),
            ({"identifier": "a\n"}, "identifier"),
            ({"name": ""}, "name"),
            ({"name": NUL}, "name"),
            ({"name": "a" * 101}, "name"),
            ({"operation": "a" * 26}, "operation"),
            ({"operation": NUL}, "operation"),
            ({"description": NUL}, "description"),
            ({"description": {}}, "description"),
        ],
        ids=lambda each: f"{each}"[:40],
    )
    def test_a_malformed_body_is_refused_with_the_name_of_the_key(self, api, wrong, named):
        assert named in api.refused("POST", "/event", new(api, **wrong), status=400, code=400208)
        id = new_event(api)
        before = items(api, "/event")
        if named not in ("system_id", "identifier"):
            api.refused("PUT", f"/event/{id}", wrong, status=400, code=400208)
        assert items(api, "/event") == before


class TestLists:
    def test_they_may_be_of_one_system(self, api):
        system = new_system(api)
        id = new_event(api, system)
        new_event(api)
        assert [each["id"] for each in items(api, "/event", systemId=system)] == [id]
        assert items(api, "/event", systemId=10**17) == []
        assert len(items(api, "/event", systemId="")) == 2

    @pytest.mark.parametrize("system", ["a", "-1", "1.5", "9" * 19, "9" * 5000, NUL, "²"], ids=lambda text: text[:5])
    def test_a_system_that_is_no_number_is_refused(self, api, system):
        api.refused("GET", "/event", status=400, code=400208, systemId=system)

    def test_they_may_have_a_text_in_their_names(self, api):
        for name in ("New Employee", "100% of_it", "100 of it"):
            new_event(api, name=name)

        def found(name):
            return [each["name"] for each in items(api, "/event", eventName=name)]

        assert found("employee") == ["New Employee"]
        assert found("0%") == found("f_i") == ["100% of_it"]
        assert found("nobody") == found(NUL) == found("a" * 60_000) == []

    def test_they_have_pages_in_an_order(self, api):
        system = new_system(api)
        ids = [new_event(api, system, name=name) for name in "cabfed"]
        content = api.ask("GET", "/event")["content"]
        assert [each["id"] for each in content.pop("items")] == ids[:5]
        assert content == {"pageIndex": 0, "itemsPerPage": 5, "totalItems": 6, "totalPages": 2}
        listed = items(api, "/event", itemsPerPage=3, pageIndex=1, activeSort="name", order="desc")
        assert [each["name"] for each in listed] == ["c", "b", "a"]

    @pytest.mark.parametrize(
        "sort", ["system_id", "identifier", "updated_at", "system", "1; DROP TABLE", NUL], ids=repr
    )
    @pytest.mark.parametrize("per_page", [10**9, -1, "a", 2**64])
    def test_impossible_pages_and_columns_are_as_if_they_were_not_sent(self, api, sort, per_page):
        id = new_event(api)
        query = {"activeSort": sort, "itemsPerPage": per_page, "order": "sideways", "pageIndex": -1}
        assert [each["id"] for each in items(api, "/event", **query)] == [id]

    def test_a_page_behind_the_last_one_is_empty(self, api):
        new_event(api)
        assert items(api, "/event", pageIndex=2**31 - 1) == []


class TestChanges:
    def test_name_operation_and_description_change(self, api):
        id = new_event(api)
        (before,) = items(api, "/event")
        changes = {"name": "new", "operation": "update", "description": "other"}
        done = api.ask("PUT", f"/event/{id}", {**changes, "identifier": "x", "system_id": 7}, status=201)
        assert done == {"code": 200001, "message": "success"}
        (after,) = items(api, "/event")
        assert {**after, "updated_at": ""} == {**before, **changes, "updated_at": ""}

    def test_nothing_may_change(self, api):
        id = new_event(api)
        api.ask("PUT", f"/event/{id}", {}, status=201)


class TestDeletion:
    def test_the_row_stays_but_is_not_listed(self, api):
        id = new_event(api)
        assert api.ask("DELETE", f"/event/{id}", status=201) == {"code": 200001, "message": "success"}
        assert items(api, "/event") == []
        assert row(api, events, id).deleted

    def test_one_with_contracts_stays(self, api):
        id = new_event(api)
        contract = new_contract(api, id, active=False)
        assert "contracts" in api.refused("DELETE", f"/event/{id}", status=400, code=400207)
        api.ask("DELETE", f"/contract/{contract}", status=201)
        api.ask("DELETE", f"/event/{id}", status=201)


@pytest.mark.parametrize("id", [0, 10**9, LARGEST_OF_PATH, "deleted"], ids=str)
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_an_unknown_or_deleted_event_is_not_found(api, id, method):
    if id == "deleted":
        id = new_event(api)
        api.ask("DELETE", f"/event/{id}", status=201)
    api.refused(method, f"/event/{id}", {"name": "new"}, status=404, code=404207)


@pytest.mark.parametrize(("method", "path"), [("POST", ""), ("GET", ""), ("PUT", "/1"), ("DELETE", "/1")])
def test_a_token_is_needed(api, method, path):
    api.refused(method, f"/event{path}", status=403, code=403002, headers={})
