"""Event listeners over REST: documents, values, updates and order (Pulp 2, event listener docs)."""

import json
import threading

import pytest
from sqlalchemy import update

from extensions.pulp.tables import listeners
from tests.extensions.pulp.api import DOCUMENT_KEYS, EVENTS, HTTP, SECRET, UNKNOWN
from tests.support.fernet import fernet_token

LONG = "/pulp/api/v2/events/"
ALL_FOUR = ["repo.sync.start", "repo.sync.finish", "repo.publish.start", "repo.publish.finish"]


class TestDocuments:
    def test_a_created_listener_has_seven_keys(self, api):
        made = api.create()
        id = made["id"]
        assert made == {**HTTP, "_href": f"{LONG}{id}/", "_id": {"$oid": id}, "_ns": "event_listeners", "id": id}
        assert made.keys() == DOCUMENT_KEYS
        assert len(id) == 24
        assert set(id) <= set("0123456789abcdef")

    def test_created_has_a_location_and_the_reason_of_django(self, api):
        reply = api.client.post(EVENTS, data=json.dumps(HTTP))
        assert reply.status == "201 CREATED"
        assert reply.headers["Location"] == reply.json["_href"]

    @pytest.mark.parametrize("prefix", [EVENTS, LONG])
    @pytest.mark.parametrize("slash", ["/", ""])
    def test_both_paths_are_the_same_resource_with_and_without_a_slash(self, api, prefix, slash):
        made = api.ask("POST", prefix.rstrip("/") + slash, HTTP, status=201)
        one = f"{prefix}{made['id']}{slash}"
        assert api.ask("GET", one) == made
        assert api.ask("GET", prefix.rstrip("/") + slash) == [made]
        changed = api.ask("PUT", one, {"event_types": ["*"]})
        assert changed == {**made, "event_types": ["*"]}
        assert api.ask("DELETE", one) is None
        assert api.ask("GET", prefix) == []

    def test_the_list_is_in_the_order_of_creation(self, api):
        made = [api.create(notifier_config={"url": f"http://localhost/{number}"}) for number in range(20)]
        assert api.ask("GET") == made
        assert sorted(each["id"] for each in made) == [each["id"] for each in made]

    @pytest.mark.parametrize(
        "query", [{"limit": 1}, {"skip": 1}, {"notifier_type_id": "email"}, {"id": UNKNOWN}], ids=str
    )
    def test_the_list_is_whole_whatever_the_query_says(self, api, query):
        made = [api.create(), api.create(notifier_type_id="email")]
        assert api.ask("GET", **query) == made

    def test_the_text_is_that_of_python_with_ascii_only(self, api):
        api.create(notifier_config={"url": "http://localhost/ä"})
        reply = api.client.get(EVENTS)
        assert b"\\u00e4" in reply.data
        assert b'"url": "' in reply.data

    def test_an_unchanged_document_is_not_sent_again(self, api):
        one = api.one(api.create()["id"])
        for path in (EVENTS, one):
            tag = api.client.get(path).headers["ETag"]
            assert api.client.get(path, headers={"If-None-Match": tag}).status_code == 304
        api.ask("PUT", one, {"event_types": ["*"]})
        assert api.client.get(one, headers={"If-None-Match": tag}).status_code == 200

    def test_head_is_get_without_a_body(self, api):
        made = api.create()
        reply = api.client.head(api.one(made["id"]))
        assert (reply.status_code, reply.data) == (200, b"")
        assert int(reply.headers["Content-Length"]) == len(json.dumps(made))
        reply = api.client.head(EVENTS)
        assert (reply.status_code, reply.data) == (200, b"")
        assert int(reply.headers["Content-Length"]) == len(json.dumps([made]))

    def test_a_content_type_is_never_looked_at(self, api):
        for kind in ("text/plain", "application/x-www-form-urlencoded", None):
            headers = {"Content-Type": kind} if kind else {}
            reply = api.client.post(EVENTS, data=json.dumps(HTTP), headers=headers)
            assert reply.status_code == 201
            changed = api.client.put(api.one(reply.json["id"]), data='{"event_types": ["*"]}', headers=headers)
            assert changed.json == {**reply.json, "event_types": ["*"]}


class TestEventTypes:
    @pytest.mark.parametrize(
        "event_types",
        [["*"], ["*", "repo.sync.start", "repo.sync.start"], ALL_FOUR, *([each] for each in ALL_FOUR)],
    )
    def test_valid_ones_are_kept_as_they_came(self, api, event_types):
        made = api.create(event_types=event_types)
        assert made["event_types"] == event_types
        assert api.ask("GET", api.one(made["id"])) == made

    @pytest.mark.parametrize(
        "event_types",
        [
            None,
            [],
            "repo.sync.start",
            "*",
            {},
            {"repo.sync.start": 1},
            [1],
            [None],
            [["*"]],
            ["repo.*"],
            ["foo"],
            ["repo-sync-finished"],
            ["REPO.SYNC.START"],
            ["repo.sync.start", "repo.*"],
            True,
            0,
        ],
    )
    def test_others_are_refused_by_name(self, api, event_types):
        error = api.ask("POST", body={**HTTP, "event_types": event_types}, status=400)
        assert error["property_names"] == ["event_types"]
        made = api.create()
        if event_types is not None:
            refused = api.ask("PUT", api.one(made["id"]), {"event_types": event_types}, status=400)
            assert refused["property_names"] == ["event_types"]
        assert api.ask("GET") == [made]

    def test_they_are_needed(self, api):
        body = {key: value for key, value in HTTP.items() if key != "event_types"}
        assert api.ask("POST", body=body, status=400)["property_names"] == ["event_types"]

    def test_they_are_checked_before_the_notifier(self, api):
        body = {"event_types": ["foo"], "notifier_type_id": "foo"}
        assert api.ask("POST", body=body, status=400)["property_names"] == ["event_types"]


class TestNotifierTypes:
    @pytest.mark.parametrize("notifier", ["http", "email", "amqp"])
    def test_three_are_known(self, api, notifier):
        assert api.create(notifier_type_id=notifier)["notifier_type_id"] == notifier

    @pytest.mark.parametrize("notifier", [None, "", "foo", "smtp", "rest-api", "HTTP", 123, ["http"], {}, True])
    def test_others_are_refused_by_name(self, api, notifier):
        error = api.ask("POST", body={**HTTP, "notifier_type_id": notifier}, status=400)
        assert error["property_names"] == ["notifier_type_id"]
        assert api.ask("GET") == []

    def test_it_cannot_be_changed(self, api):
        made = api.create()
        for notifier in ("email", "foo", ["http"]):
            assert api.ask("PUT", api.one(made["id"]), {"notifier_type_id": notifier}) == made


class TestConfigurations:
    @pytest.mark.parametrize(
        "config",
        [
            {},
            {"url": ""},
            {"url": None},
            {"whatever": [1, {"a": None}], "url": 5},
            {"a.b": 1},
            {"subject": "ä \N{GRINNING FACE}", "addresses": "a@example.com"},
            {"password": "s3cret", "username": "anna"},
            {"password": None},
            {"password": {"odd": [1]}},
        ],
    )
    @pytest.mark.parametrize("notifier", ["http", "email", "amqp"])
    def test_any_object_is_kept_as_it_came(self, api, notifier, config):
        made = api.create(notifier_type_id=notifier, notifier_config=config)
        assert made["notifier_config"] == config
        assert api.ask("GET", api.one(made["id"])) == made

    @pytest.mark.parametrize("body", [{"notifier_config": None}, {}])
    def test_a_missing_one_is_empty(self, api, body):
        rest = {key: value for key, value in HTTP.items() if key != "notifier_config"}
        made = api.ask("POST", body={**rest, **body}, status=201)
        assert made["notifier_config"] == {}
        assert api.ask("GET") == [made]

    def test_a_missing_one_is_refused_where_the_settings_say_so(self, make_api):
        api = make_api(EXTENSION_PULP_REQUIRE_CONFIG="true")
        assert api.ask("POST", body={**HTTP, "notifier_config": None}, status=400)["property_names"] == [
            "notifier_config"
        ]
        assert api.create(notifier_config={})["notifier_config"] == {}

    @pytest.mark.parametrize("config", ["text", [], ["a"], 1, True])
    def test_what_is_no_object_is_refused(self, api, config):
        assert api.ask("POST", body={**HTTP, "notifier_config": config}, status=400)["property_names"] == [
            "notifier_config"
        ]
        made = api.create()
        refused = api.ask("PUT", api.one(made["id"]), {"notifier_config": config}, status=400)
        assert refused["property_names"] == ["notifier_config"]
        assert api.ask("GET") == [made]

    def test_more_addresses_than_a_listener_may_have_are_refused(self, api):
        config = {"subject": "s", "addresses": [f"a{number}@example.com" for number in range(1001)]}
        body = {**HTTP, "notifier_type_id": "email", "notifier_config": config}
        assert api.ask("POST", body=body, status=400)["property_names"] == ["notifier_config"]

    @pytest.mark.parametrize("depth", [260, 500, 900, 990, 1000])
    @pytest.mark.parametrize("key", ["url", "password", "note"])
    def test_one_that_is_nested_too_deep_is_refused(self, api, depth, key):
        made = api.create()
        body = {"notifier_type_id": "http", "event_types": ["*"], "notifier_config": {key: "DEEP"}}
        sent = json.dumps(body).replace('"DEEP"', "[" * depth + "]" * depth).encode()
        for method, path in (("POST", EVENTS), ("PUT", api.one(made["id"]))):
            assert api.client.open(path, method=method, data=sent).status_code == 400
        assert api.ask("GET") == [made]

    def test_a_nested_one_can_be_read_and_changed(self, api):
        nested = json.loads("[" * 200 + "]" * 200)
        made = api.create(notifier_config={"url": nested, "password": nested})
        assert api.ask("GET", api.one(made["id"])) == made
        assert api.ask("PUT", api.one(made["id"]), {"event_types": ["*"]})["notifier_config"] == made["notifier_config"]

    def test_what_no_notifier_uses_is_stored_once(self, api, database):
        config = {"subject": "s", "addresses": [f"a{number}@example.com" for number in range(100)], "note": "n" * 999}
        made = api.create(notifier_type_id="email", notifier_config=config)
        assert api.ask("GET", api.one(made["id"]))["notifier_config"] == config
        with database.read() as connection:
            stored = connection.exec_driver_sql("SELECT * FROM subscriptions").all()
        assert len(stored) == 100
        assert "nnn" not in repr(stored)
        assert sum("a42@example.com" in repr(row) for row in stored) == 1

    def test_other_keys_of_the_body_are_ignored(self, api):
        made = api.ask("POST", body={**HTTP, "foo": 1, "id": "mine", "_id": 2}, status=201)
        assert made.keys() == DOCUMENT_KEYS
        assert made["id"] != "mine"

    def test_equal_listeners_may_be_created(self, api):
        assert api.create()["id"] != api.create()["id"]
        assert len(api.ask("GET")) == 2


class TestUpdates:
    @pytest.mark.parametrize(
        ("before", "change", "after"),
        [
            ({"k1": "v1", "k2": "v2", "k3": "v3"}, {"k1": "vX", "k2": None}, {"k1": "vX", "k3": "v3"}),
            ({"a": 1}, {}, {"a": 1}),
            ({"a": 1}, None, {"a": 1}),
            ({"a": 1}, {"b": None}, {"a": 1}),
            ({"a": 1}, {"a": ""}, {"a": ""}),
            ({"a": 1}, {"a": 0}, {"a": 0}),
            ({"a": 1}, {"a": False}, {"a": False}),
            ({"a": 1}, {"a": []}, {"a": []}),
            ({"a": 1}, {"a": {}}, {"a": {}}),
            ({"a": {"b": 1, "c": 2}}, {"a": {"b": None}}, {"a": {"b": None}}),
            ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
            ({"password": "old"}, {"password": "new"}, {"password": "new"}),
            ({"password": "old", "a": 1}, {"password": None}, {"a": 1}),
            ({"password": "old"}, {"a": 1}, {"password": "old", "a": 1}),
        ],
    )
    def test_a_configuration_is_merged_key_by_key(self, api, before, change, after):
        made = api.create(notifier_config=before)
        changed = api.ask("PUT", api.one(made["id"]), {"notifier_config": change})
        assert changed == {**made, "notifier_config": after}
        assert api.ask("GET", api.one(made["id"])) == changed

    @pytest.mark.parametrize("body", [b"", {}, {"event_types": None}, {"foo": 1, "id": "x", "_id": "x"}])
    def test_nothing_changes_nothing(self, api, body):
        made = api.create()
        assert api.ask("PUT", api.one(made["id"]), body) == made

    @pytest.mark.parametrize(
        "event_types",
        [["*"], ALL_FOUR[::-1], ["repo.sync.start", "*", "repo.sync.start"]],
        ids=["all", "in-their-order", "twice"],
    )
    def test_event_types_are_replaced(self, api, event_types):
        made = api.create()
        body = {"event_types": event_types, "notifier_type_id": "email", "id": UNKNOWN}
        changed = api.ask("PUT", api.one(made["id"]), body)
        assert changed == {**made, "event_types": event_types}
        assert api.ask("GET") == [changed]

    @pytest.mark.parametrize(
        "body",
        [
            {"notifier_config": {"url": "http://localhost/new"}, "event_types": ["foo"]},
            {"notifier_config": ["http://localhost/new"], "event_types": ["*"]},
        ],
        ids=["event-types", "configuration"],
    )
    def test_a_refused_part_leaves_the_other_as_it_was(self, api, body):
        made = api.create()
        api.ask("PUT", api.one(made["id"]), body, status=400)
        assert api.ask("GET", api.one(made["id"])) == made

    def test_updates_at_the_same_time_lose_no_key(self, api):
        made = api.create(notifier_config={})
        gate = threading.Barrier(8, timeout=30)

        def change(number):
            client = api.service and api.client.application.test_client()
            gate.wait()
            body = json.dumps({"notifier_config": {f"k{number}": number}})
            assert client.put(api.one(made["id"]), data=body).status_code == 200

        threads = [threading.Thread(target=change, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert api.ask("GET", api.one(made["id"]))["notifier_config"] == {f"k{number}": number for number in range(8)}


class TestRemoval:
    def test_it_answers_null_and_leaves_none(self, api):
        made = api.create()
        reply = api.client.delete(api.one(made["id"]))
        assert (reply.status_code, reply.data) == (200, b"null")
        assert api.ask("GET") == []
        api.ask("DELETE", api.one(made["id"]), status=404)


class TestUpserts:
    @pytest.mark.parametrize(
        ("notifier", "first", "again"),
        [
            ("http", {"url": "http://a.test/"}, {"url": "http://a.test/", "username": "anna"}),
            (
                "email",
                {"addresses": ["a@example.com", "b@example.com"], "subject": "old"},
                {"addresses": ["b@example.com", "a@example.com"], "subject": "new"},
            ),
            ("amqp", {"exchange": "amq.topic"}, {}),
        ],
    )
    def test_the_same_recipients_are_replaced(self, api, notifier, first, again):
        made = api.create(notifier_type_id=notifier, notifier_config=first)
        body = {"notifier_type_id": notifier, "notifier_config": again, "event_types": ["*"]}
        changed = api.ask("POST", body=body, status=201, upsert="true")
        assert changed == {**made, "notifier_config": again, "event_types": ["*"]}
        assert api.ask("GET") == [changed]

    def test_others_are_created(self, api):
        api.create()
        for config in ({"url": "http://other.test/"}, {}):
            api.ask("POST", body={**HTTP, "notifier_config": config}, status=201, upsert="true")
        api.ask("POST", body=HTTP, status=201)
        assert len(api.ask("GET")) == 4

    def test_at_the_same_time_one_is_created(self, api):
        gate = threading.Barrier(6, timeout=30)

        def upsert():
            client = api.client.application.test_client()
            gate.wait()
            assert client.post(f"{EVENTS}?upsert=true", data=json.dumps(HTTP)).status_code == 201

        threads = [threading.Thread(target=upsert) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(api.ask("GET")) == 1


@pytest.mark.parametrize("id", ["foo", UNKNOWN, "4FF708048A905B7016000008", "a" * 500, "%00", "ä", " "])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_there_is_none_of_another_id(api, method, id):
    error = api.ask(method, api.one(id), b"" if method == "PUT" else None, status=404)
    assert error["error"]["code"] == "PLP0009"
    assert error["resources"].keys() == {"event_listener"}


class TestSecrets:
    def test_a_password_is_in_no_table_in_clear(self, api, database):
        api.create(notifier_config={"url": "http://a.test/", "username": "anna", "password": "s3cret-word"})
        with database.read() as connection:
            for table in ("pulp_listeners", "subscriptions"):
                rows = connection.exec_driver_sql(f"SELECT * FROM {table}").all()
                assert rows
                assert "s3cret-word" not in repr(rows)

    def test_those_of_earlier_releases_are_read(self, api, database):
        made = api.create(notifier_config={"url": "http://a.test/", "password": "s3cret-word"})
        before = fernet_token(SECRET.encode(), b'"an earlier word"', "pulp passwords of notifiers")
        with database.transaction() as connection:
            connection.execute(update(listeners).values(password=before))
        assert api.ask("GET", api.one(made["id"]))["notifier_config"]["password"] == "an earlier word"

    def test_answers_hide_it_where_the_settings_say_so(self, make_api):
        api = make_api(EXTENSION_PULP_HIDE_PASSWORDS="true")
        made = api.create(notifier_config={"url": "http://a.test/", "password": "s3cret-word"})
        assert made["notifier_config"] == {"url": "http://a.test/"}
        api.ask("PUT", api.one(made["id"]), {"notifier_config": {"username": "anna"}})
        for reply in (api.client.get(EVENTS), api.client.put(api.one(made["id"]), data="{}")):
            assert b"s3cret-word" not in reply.data

    def test_another_secret_is_named_and_shows_nothing(self, api, make_api):
        made = api.create(notifier_config={"url": "http://a.test/", "password": "s3cret-word"})
        other = make_api(EXTENSION_PULP_SECRET="another secret, which is long enough as well")
        one = other.one(made["id"])
        for method, path in (("GET", EVENTS), ("GET", one), ("PUT", one)):
            error = other.ask(method, path, b"" if method == "PUT" else None, status=500)
            assert "was encrypted with another EXTENSION_PULP_SECRET" in error["error_message"]
        assert other.ask("GET", f"{one}deliveries/") == []
        error = other.ask("PUT", one, {"notifier_config": {"url": "http://b.test/"}}, status=500)
        assert api.ask("GET", one)["notifier_config"]["url"] == "http://a.test/"
        other.ask("PUT", one, {"notifier_config": {"password": "another-word"}})
        assert other.ask("GET", one)["notifier_config"] == {"url": "http://a.test/", "password": "another-word"}
        hiding = make_api(EXTENSION_PULP_HIDE_PASSWORDS="true")
        assert [each["id"] for each in hiding.ask("GET")] == [made["id"]]
        shown = other.ask("PUT", one, {"event_types": ["*"]})["notifier_config"]
        assert shown == {"url": "http://a.test/", "password": "another-word"}
        assert other.ask("DELETE", one) is None
