"""Contracts: creation with a subscription, lists, orders, changes and deletion."""

import re

import pytest

from extension_kit.protocol import subscriptions
from extensions.eventhos.tables import contracts
from tests.extensions.eventhos.managing import (
    LARGEST_OF_PATH,
    NUL,
    TOO_LARGE,
    at_once,
    items,
    new_action,
    new_contract,
    new_event,
    new_system,
    row,
)


def new(api, **more):
    return {"eventId": new_event(api), "actionId": new_action(api), "name": "C", "identifier": "to-erp", **more}


def shown(api, id):
    return api.ask("GET", f"/contract/{id}")["content"]


def subscription(api, id):
    with api.database.read() as connection:
        return subscriptions.get(connection, row(api, contracts, id).subscription)


class TestCreation:
    def test_the_answer_calls_its_id_that_of_an_action(self, api):
        made = api.ask("POST", "/contract", new(api), status=201)
        (listed,) = items(api, "/contract")
        assert made == {"code": 200001, "message": "success", "content": {"actionId": listed["id"]}}

    def test_what_is_not_sent_has_defaults(self, api):
        body = new(api)
        id = api.ask("POST", "/contract", body, status=201)["content"]["actionId"]
        content = shown(api, id)
        assert items(api, "/contract") == [content]
        assert re.fullmatch(r"to-erp-[A-Za-z0-9]{10}", content.pop("identifier"))
        (event,), (action,) = items(api, "/event"), items(api, "/action")
        assert content == {
            "id": id,
            "name": "C",
            "active": 1,
            "order": 0,
            "eventId": body["eventId"],
            "actionId": body["actionId"],
            "producerName": "ERP",
            "consumerName": "ERP",
            "eventIdentifier": event["identifier"],
            "actionIdentifier": action["identifier"],
            "mailRecipientsOnError": "",
            "stopOnError": False,
            "inOrder": False,
            "retrySchedule": None,
        }

    def test_everything_may_be_sent(self, api):
        sent = {
            "active": False,
            "order": 32767,
            "mailRecipientsOnError": "a@my-firm.test, b@x.test",
            "stopOnError": True,
            "inOrder": True,
            "retrySchedule": [0, 1.5, 60],
        }
        content = shown(api, new_contract(api, **sent))
        assert {key: content[key] for key in sent} == {**sent, "active": 0}

    def test_it_has_a_subscription_with_its_name(self, api):
        id = new_contract(api)
        found = subscription(api, id)
        assert (found.protocol, found.sender, found.patterns) == ("eventhos", "protocol", ())
        assert found.name == shown(api, id)["identifier"]

    def test_an_identifier_that_exists_is_refused(self, api):
        id = new_contract(api)
        identifier = shown(api, id)["identifier"]
        api.refused("POST", "/contract", new(api, identifier=identifier), status=400, code=400101)
        api.ask("DELETE", f"/contract/{id}", status=201)
        api.refused("POST", "/contract", new(api, identifier=identifier), status=400, code=400101)

    def test_the_same_event_and_action_may_have_two(self, api):
        body = new(api)
        for _ in range(2):
            api.ask("POST", "/contract", body, status=201)

    @pytest.mark.parametrize("deleted", ["event", "action"])
    def test_none_is_of_an_event_or_action_that_is_deleted_meanwhile(self, api, deleted):
        for _ in range(5):
            body = new(api)
            deletion = ("DELETE", f"/{deleted}/{body[f'{deleted}Id']}", None)
            created, removed = at_once(api, [("POST", "/contract", body), deletion])
            assert (created == 201) != (removed == 201)

    @pytest.mark.parametrize(("key", "code"), [("eventId", 404207), ("actionId", 400002)])
    @pytest.mark.parametrize("id", [10**9, TOO_LARGE - 1, "deleted"], ids=str)
    def test_an_unknown_event_or_action_is_not_found(self, api, key, code, id):
        body = new(api)
        if id == "deleted":
            id = body[key]
            api.ask("DELETE", f"/{key.removesuffix('Id')}/{id}", status=201)
        api.refused("POST", "/contract", {**body, key: id}, status=404, code=code)
        with api.database.read() as connection:
            assert subscriptions.find_all(connection, "eventhos") == []

    @pytest.mark.parametrize(
        ("wrong", "named"),
        [
            ({"eventId": None}, "eventId"),
            ({"eventId": TOO_LARGE}, "eventId"),
            ({"actionId": "a"}, "actionId"),
            ({"identifier": "a b"}, "identifier"),
            ({"name": ""}, "name"),
            ({"name": NUL}, "name"),
            ({"name": "a" * 201}, "name"),
            ({"order": -1}, "order"),
            ({"order": 32768}, "order"),
            ({"order": 1.5}, "order"),
            ({"order": True}, "order"),
            ({"order": 2**70}, "order"),
            ({"order": None}, "order"),
            ({"active": "maybe"}, "active"),
            ({"active": []}, "active"),
            ({"active": None}, "active"),
            ({"mailRecipientsOnError": "nobody"}, "mailRecipientsOnError"),
            ({"mailRecipientsOnError": "a@x.test;b@x.test@"}, "mailRecipientsOnError"),
            ({"mailRecipientsOnError": "a@x.test\r\nBcc: b@x.test"}, "mailRecipientsOnError"),
            ({"mailRecipientsOnError": "a@x.test,"}, "mailRecipientsOnError"),
            ({"mailRecipientsOnError": "a@" + "x" * 199}, "mailRecipientsOnError"),
            ({"mailRecipientsOnError": "a," * 100}, "mailRecipientsOnError"),
            ({"mailRecipientsOnError": "a@x" + NUL}, "mailRecipientsOnError"),
            ({"stopOnError": 7}, "stopOnError"),
            ({"inOrder": None}, "inOrder"),
            ({"retrySchedule": 5}, "retrySchedule"),
            ({"retrySchedule": [-1]}, "retrySchedule"),
            ({"retrySchedule": [30 * 86400 + 1]}, "retrySchedule"),
            ({"retrySchedule": [None]}, "retrySchedule"),
            ({"retrySchedule": ["٣"]}, "retrySchedule"),
            ({"retrySchedule": ["1_0"]}, "retrySchedule"),
            ({"retrySchedule": [True]}, "retrySchedule"),
            ({"retrySchedule": ["nan"]}, "retrySchedule"),
            ({"retrySchedule": [1] * 101}, "retrySchedule"),
            ({"mailRecipientsOnError": "a@b.test," * 800_000}, "mailRecipientsOnError"),
        ],
        ids=lambda each: f"{each}"[:50],
    )
    def test_a_malformed_body_is_refused_with_the_name_of_the_key(self, api, wrong, named):
        assert named in api.refused("POST", "/contract", new(api, **wrong), status=400, code=400105)
        id = new_contract(api)
        before = shown(api, id)
        if named not in ("eventId", "actionId", "identifier"):
            assert named in api.refused("PUT", f"/contract/{id}", wrong, status=400, code=400105)
        assert shown(api, id) == before
        assert len(items(api, "/contract")) == 1


class TestLists:
    def test_a_word_is_searched_in_names_and_identifiers(self, api):
        event = new_event(api, new_system(api, "producer", name="Human Resources"), identifier="hired")
        action = new_action(api, new_system(api, "consumer", name="Payroll"), identifier="pay")
        id = new_contract(api, event, action, name="100% of_it")
        new_contract(api, name="100 of it")

        def found(word):
            return [each["id"] for each in items(api, "/contract", wordSearch=word)]

        for word in ("human", "PAYROLL", "hired-", "pay-", "0%", "f_i"):
            assert found(word) == [id]
        assert len(found("")) == 2
        assert found("nobody") == found(NUL) == found("a" * 60_000) == []

    def test_deleted_ones_are_not_found_by_a_word(self, api):
        api.ask("DELETE", f"/contract/{new_contract(api)}", status=201)
        assert items(api, "/contract", wordSearch="ERP") == items(api, "/contract") == []

    @pytest.mark.parametrize("sort", ["name", "order", "producerName", "eventIdentifier", "retry", NUL], ids=repr)
    def test_they_have_pages_in_an_order(self, api, sort):
        event, action = new_event(api), new_action(api)
        ids = [new_contract(api, event, action, name=name) for name in "abc"]
        content = api.ask("GET", "/contract", itemsPerPage=2, order="desc", activeSort=sort)["content"]
        assert [each["id"] for each in content.pop("items")] == [ids[2], ids[1]]
        assert content == {"pageIndex": 0, "itemsPerPage": 2, "totalItems": 3, "totalPages": 2}

    def test_those_of_an_event_are_listed_in_their_order(self, api):
        event = new_event(api)
        ids = [new_contract(api, event, order=order) for order in (2, 1, 1)]
        api.ask("DELETE", f"/contract/{new_contract(api, event)}", status=201)
        new_contract(api)
        listed = api.ask("GET", f"/contract/event/{event}")["content"]
        assert [each["id"] for each in listed] == [ids[1], ids[2], ids[0]]
        assert {each["event_id"] for each in listed} == {event}

    def test_those_of_an_event_and_an_action_are_rows(self, api):
        event, action = new_event(api), new_action(api)
        id = new_contract(api, event, action, mailRecipientsOnError="a@x.test")
        new_contract(api, event)
        (listed,) = api.ask("GET", f"/contract/event/{event}/action/{action}")["content"]
        for key in ("identifier", "created_at", "updated_at"):
            del listed[key]
        assert listed == {
            "id": id,
            "event_id": event,
            "action_id": action,
            "name": "C",
            "active": 1,
            "order": 0,
            "deleted": 0,
            "mail_recipients_on_error": "a@x.test",
        }

    def test_an_unknown_event_or_action_is_not_found(self, api):
        event = new_event(api)
        api.refused("GET", f"/contract/event/{LARGEST_OF_PATH}", status=404, code=404207)
        api.refused("GET", f"/contract/event/{10**9}/action/1", status=404, code=404207)
        api.refused("GET", f"/contract/event/{event}/action/{LARGEST_OF_PATH}", status=404, code=400002)
        api.refused("GET", f"/contract/event/{event}/action/{10**9}", status=404, code=400002)


class TestOrders:
    def test_several_change_at_once(self, api):
        event = new_event(api)
        ids = [new_contract(api, event) for _ in range(3)]
        orders = [{"contractId": id, "order": 3 - place} for place, id in enumerate(ids)]
        done = api.ask("PUT", "/contract/order", {"orders": orders}, status=201)
        assert done == {"code": 200001, "message": "success"}
        assert [each["id"] for each in api.ask("GET", f"/contract/event/{event}")["content"]] == ids[::-1]

    def test_the_last_one_counts_if_a_contract_comes_twice(self, api):
        id = new_contract(api)
        orders = [{"contractId": id, "order": order} for order in (1, 2)]
        api.ask("PUT", "/contract/order", {"orders": orders}, status=201)
        assert shown(api, id)["order"] == 2

    @pytest.mark.parametrize("unknown", [10**9, TOO_LARGE - 1, "deleted"], ids=str)
    def test_none_changes_if_one_is_unknown(self, api, unknown):
        id = new_contract(api)
        if unknown == "deleted":
            unknown = new_contract(api)
            api.ask("DELETE", f"/contract/{unknown}", status=201)
        orders = [{"contractId": id, "order": 5}, {"contractId": unknown, "order": 6}]
        api.refused("PUT", "/contract/order", {"orders": orders}, status=404, code=404104)
        assert shown(api, id)["order"] == 0

    @pytest.mark.parametrize(
        "wrong",
        [
            None,
            {},
            "a",
            [7],
            [{"contractId": 1}],
            [{"order": 1}],
            [{"contractId": TOO_LARGE, "order": 1}],
            [{"contractId": 1, "order": 32768}],
            [{"contractId": 1, "order": 1}] * 1001,
        ],
        ids=lambda each: f"{each}"[:40],
    )
    def test_malformed_ones_are_refused(self, api, wrong):
        assert "orders" in api.refused("PUT", "/contract/order", {"orders": wrong}, status=400, code=400105)

    def test_more_than_1000_are_refused_before_they_are_looked_at(self, api):
        body = {"orders": [{"contractId": "x"}] * 1001}
        message = api.refused("PUT", "/contract/order", body, status=400, code=400105)
        assert message == "orders: Longer than maximum length 1000."

    def test_the_message_about_many_is_short(self, api):
        body = {"orders": [{"contractId": "x"}] * 1000}
        assert len(api.refused("PUT", "/contract/order", body, status=400, code=400105)) == 2000

    def test_no_orders_change_nothing(self, api):
        api.ask("PUT", "/contract/order", {"orders": []}, status=201)


class TestChanges:
    def test_keys_that_are_sent_change_and_others_stay(self, api):
        id = new_contract(api, retrySchedule=[5])
        before = shown(api, id)
        changes = {"name": "new", "active": 0, "order": 7, "mailRecipientsOnError": "a@x.test", "stopOnError": True}
        done = api.ask("PUT", f"/contract/{id}", {**changes, "identifier": "x", "eventId": 1}, status=201)
        assert done == {"code": 200001, "message": "success"}
        assert shown(api, id) == {**before, **changes}

    @pytest.mark.parametrize("nothing", [None, ""], ids=repr)
    def test_recipients_can_be_taken_away(self, api, nothing):
        id = new_contract(api, mailRecipientsOnError="a@x.test")
        api.ask("PUT", f"/contract/{id}", {"mailRecipientsOnError": nothing}, status=201)
        assert shown(api, id)["mailRecipientsOnError"] == ""

    @pytest.mark.parametrize("schedule", [[1, 2], [], None], ids=repr)
    def test_its_schedule_can_be_taken_away(self, api, schedule):
        id = new_contract(api, retrySchedule=[5])
        api.ask("PUT", f"/contract/{id}", {"retrySchedule": schedule}, status=201)
        assert shown(api, id)["retrySchedule"] == schedule


class TestDeletion:
    def test_the_row_and_its_subscription_stay(self, api):
        id = new_contract(api)
        before = subscription(api, id)
        assert api.ask("DELETE", f"/contract/{id}", status=201) == {"code": 200001, "message": "success"}
        assert row(api, contracts, id).deleted
        assert subscription(api, id) == before


@pytest.mark.parametrize("id", [0, 10**9, LARGEST_OF_PATH, "deleted"], ids=str)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_an_unknown_or_deleted_contract_is_not_found(api, id, method):
    if id == "deleted":
        id = new_contract(api)
        api.ask("DELETE", f"/contract/{id}", status=201)
    api.refused(method, f"/contract/{id}", {"name": "new"}, status=404, code=404104)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", ""),
        ("GET", ""),
        ("GET", "/1"),
        ("GET", "/event/1"),
        ("GET", "/event/1/action/1"),
        ("PUT", "/order"),
        ("PUT", "/1"),
        ("DELETE", "/1"),
    ],
)
def test_a_token_is_needed(api, method, path):
    api.refused(method, f"/contract{path}", status=403, code=403002, headers={})
