"""Notifications of Pulp servers: which listeners get them, what identifies an event, and odd bodies."""

import json

import pytest
from sqlalchemy import func, select

from extension_kit.deliveries.tables import events
from tests.extensions.pulp.api import HTTP, basic
from tests.support.spans import HEADERS, exporter, is_continued

__all__ = ["exporter"]  # a fixture

INBOX = "/pulp/notifications"
START = {"event_type": "repo.sync.start", "payload": {"repo_id": "zoo"}, "call_report": None}


def stored(database):
    with database.read() as connection:
        return connection.execute(select(events).order_by(events.c.ref)).all()


def refusal(api, body, **more):
    error = api.ask("POST", INBOX, body, status=400, **more)
    assert error["http_status"] == 400
    assert error["_href"] == INBOX
    assert error["error"]["code"] == "PLP0000"
    with api.database.read() as connection:
        assert connection.execute(select(func.count()).select_from(events)).scalar() == 0
    return error["error_message"]


def test_an_event_is_in_the_trace_of_its_request(api, database, exporter):
    api.ask("POST", INBOX, START, headers=HEADERS)
    assert is_continued(exporter, database, f"POST {INBOX}")


class TestListeners:
    @pytest.mark.parametrize("path", [INBOX, f"{INBOX}/"])
    def test_it_is_stored_before_the_answer(self, api, database, path):
        found = api.ask("POST", path, START)
        assert found["is_new"] is True
        (event,) = stored(database)
        assert (event.source, event.event_id, event.name) == ("pulp", found["id"], "repo.sync.start")
        assert json.loads(event.body) == START

    def test_those_that_name_its_type_or_all_get_it_once(self, api):
        exact = api.create(event_types=["repo.sync.start", "repo.sync.finish"])["id"]
        all = api.create(event_types=["*"])["id"]
        both = api.create(event_types=["repo.sync.start", "*", "repo.sync.start"])["id"]
        api.create(event_types=["repo.publish.start"])
        api.notify("repo.sync.start")
        assert sorted(group for group, _ in api.deliveries()) == sorted([exact, all, both])

    def test_without_a_listener_there_is_no_delivery(self, api, database):
        api.create(event_types=["repo.publish.start"])
        api.notify("repo.sync.start")
        assert api.deliveries() == []
        assert len(stored(database)) == 1

    def test_a_change_of_a_listener_counts_from_the_next_event(self, api):
        made = api.create(event_types=["repo.publish.start"])
        api.notify("repo.sync.start")
        api.ask("PUT", api.one(made["id"]), {"event_types": ["repo.sync.start"]})
        assert api.deliveries() == []
        api.notify("repo.sync.start")
        assert [group for group, _ in api.deliveries()] == [made["id"]]

    def test_each_address_of_an_e_mail_has_a_delivery(self, api):
        config = {"subject": "s", "addresses": ["a@example.com", "b@example.com", "a@example.com"]}
        made = api.create(notifier_type_id="email", notifier_config=config, event_types=["*"])
        api.notify()
        assert [group for group, _ in api.deliveries()] == [made["id"]] * 2


class TestIdentity:
    def test_one_that_is_sent_twice_is_one_event(self, api, database):
        api.create(event_types=["*"])
        first = api.notify(call_report={"task_id": "t1"})
        again = api.notify(call_report={"task_id": "t1", "state": "finished"})
        assert first == {"id": "t1/repo.sync.start", "is_new": True}
        assert again == {"id": "t1/repo.sync.start", "is_new": False}
        assert len(stored(database)) == len(api.deliveries()) == 1

    def test_task_type_and_distributor_are_told_apart(self, api):
        ids = [
            api.notify(event_type, {"repo_id": "zoo", "distributor_id": distributor}, {"task_id": task})["id"]
            for task in ("t1", "t2")
            for event_type in ("repo.publish.start", "repo.publish.finish")
            for distributor in ("yum", "iso")
        ]
        assert len(set(ids)) == 8
        assert ids[0] == "t1/repo.publish.start/yum"

    @pytest.mark.parametrize("report", [None, {}, {"task_id": None}, {"task_id": ""}, {"task_id": 5}])
    def test_without_a_task_each_is_new(self, api, report):
        first, second = (api.notify(call_report=report) for _ in range(2))
        assert first["is_new"]
        assert second["is_new"]
        assert first["id"] != second["id"]

    def test_ids_of_any_length_are_told_apart(self, api):
        for end in "ab":
            assert api.notify(call_report={"task_id": "t" * 5000 + end})["is_new"]
        assert not api.notify(call_report={"task_id": "t" * 5000 + "a"})["is_new"]


class TestSeries:
    def test_events_of_a_repository_are_counted(self, api):
        api.create(event_types=["*"])
        for repo in ("zoo", "park", "zoo", "zoo", "park"):
            api.notify(payload={"repo_id": repo})
        rows = [row for _, row in api.deliveries()]
        assert [(row.series, row.subject) for row in rows] == [
            (f"pulp/{repo}", repo) for repo in ("zoo", "park", "zoo", "zoo", "park")
        ]
        assert [row.place for row in rows] == [1, 1, 2, 3, 2]

    @pytest.mark.parametrize("payload", [{"repo_id": None}, {"repo_id": ""}, {"repo_id": 5}, ["zoo"], "zoo"])
    def test_without_a_repository_there_is_none(self, api, payload):
        api.create(event_types=["*"])
        api.notify(payload=payload)
        ((_, row),) = api.deliveries()
        assert (row.series, row.place, row.subject) == (None, None, None)


class TestBodies:
    @pytest.mark.parametrize("body", [b"", b"{", b"event_type=repo.sync.start", b"\xff\xfe", b"[" * 100_000])
    def test_what_is_not_json_is_refused(self, api, body):
        assert refusal(api, body).startswith("not a notification of Pulp: ")

    @pytest.mark.parametrize("body", [[], [START], "text", 5, None, True])
    def test_what_is_no_object_is_refused(self, api, body):
        assert "a notification is a JSON object" in refusal(api, json.dumps(body).encode())

    @pytest.mark.parametrize("event_type", [None, "", "*", "foo", "repo-sync-started", "REPO.SYNC.START", 5, [], {}])
    def test_an_unknown_type_is_refused_with_those_that_are_known(self, api, event_type):
        assert "event_type is one of repo.sync.start, " in refusal(api, {**START, "event_type": event_type})

    def test_types_of_other_systems_do_not_come_from_pulp(self, make_api):
        api = make_api(EXTENSION_PULP_EVENT_TYPES="experiment.execution.failed")
        assert "event_type" in refusal(api, {**START, "event_type": "experiment.execution.failed"})

    @pytest.mark.parametrize("left_out", ["event_type", "payload"])
    def test_type_and_payload_are_needed(self, api, left_out):
        assert left_out in refusal(api, {key: value for key, value in START.items() if key != left_out})

    @pytest.mark.parametrize("report", ["t1", 5, [], ["t1"], True, False])
    def test_a_report_is_an_object_or_null(self, api, report):
        assert "call_report is an object or null" in refusal(api, {**START, "call_report": report})

    def test_a_payload_that_is_nested_too_deep_is_refused(self, api):
        deep = b"[" * 500 + b"]" * 500
        body = b'{"event_type": "repo.sync.start", "payload": ' + deep + b"}"
        assert "nested" in refusal(api, body)

    @pytest.mark.parametrize("payload", [None, 0, "", [], {}, [1, {"a": None}], "ä", 1.5, {"_id": {"$oid": "4ff7"}}])
    def test_a_payload_is_any_json(self, api, database, payload):
        api.ask("POST", INBOX, {"event_type": "repo.sync.start", "payload": payload})
        (event,) = stored(database)
        assert json.loads(event.body) == {**START, "payload": payload}

    def test_other_keys_are_left_out(self, api, database):
        api.ask("POST", INBOX, {**START, "id": "mine", "foo": 1})
        (event,) = stored(database)
        assert json.loads(event.body) == START

    def test_a_content_type_is_never_looked_at(self, api):
        for kind in ("text/plain", "application/x-www-form-urlencoded"):
            reply = api.client.post(INBOX, data=json.dumps(START), headers={"Content-Type": kind})
            assert reply.status_code == 200

    @pytest.mark.parametrize(
        ("sent", "kept"),
        [
            (b"NaN", None),
            (b"[Infinity, -Infinity]", [None, None]),
            (b'"a\\ud800b"', "a\ufffdb"),
            (b'"\\ud83d\\ude00"', "\U0001f600"),
            (b"123456789012345678901234567890", 1.2345678901234568e29),
            (b'"\\u0000"', "\0"),
        ],
    )
    def test_what_python_writes_is_read(self, api, database, sent, kept):
        api.ask("POST", INBOX, b'{"event_type": "repo.sync.start", "payload": %s}' % sent)
        (event,) = stored(database)
        assert json.loads(event.body)["payload"] == kept

    def test_a_repair_is_logged(self, api, caplog):
        api.ask("POST", INBOX, b'{"event_type": "repo.sync.start", "payload": NaN}')
        assert "Invalid JSON repaired in a notification repo.sync.start: NaN" in caplog.text

    def test_ids_may_hold_any_character(self, api):
        api.create(event_types=["*"])
        payload, report = {"repo_id": "z\0ö" * 200, "distributor_id": "\0"}, {"task_id": "t\0\n" * 200}
        assert api.notify(payload=payload, call_report=report)["is_new"]
        assert not api.notify(payload=payload, call_report=report)["is_new"]
        assert len(api.deliveries()) == 1


class TestTokens:
    def test_it_is_in_the_query_or_the_password(self, make_api):
        api = make_api(EXTENSION_PULP_TOKEN="s3cret")
        api.ask("POST", INBOX, START, token="s3cret")
        api.ask("POST", INBOX, START, headers=basic("pulp", "s3cret"))
        for query in ({}, {"token": ""}, {"token": "s3cre"}, {"token": "ä"}):
            assert api.ask("POST", INBOX, START, status=401, **query)["error"]["code"] == "PLP0025"

    def test_a_user_who_may_create_may_notify(self, make_api):
        api = make_api(EXTENSION_PULP_ADMIN_USERNAME="admin", EXTENSION_PULP_ADMIN_PASSWORD="admin")
        api.ask("POST", INBOX, START, headers=basic("admin", "admin"))
        api.ask("POST", INBOX, START, headers=basic("admin", "wrong"), status=401)
        api.ask("POST", INBOX, START, status=401)


def test_nothing_but_post_is_served(api):
    for path in (INBOX, f"{INBOX}/"):
        for method in ("GET", "PUT", "DELETE"):
            reply = api.client.open(path, method=method)
            assert (reply.status_code, reply.headers["Allow"]) == (405, "POST, OPTIONS")


def test_a_listener_is_notified_of_an_unchanged_document(api):
    api.create(**HTTP | {"event_types": ["*"]})
    report = {"task_id": "t1", "tags": ["pulp:action:sync"], "_id": {"$oid": "4ff708048a905b7016000008"}, "error": None}
    api.notify("repo.sync.finish", {"repo_id": "zoo", "result": "success"}, report)
    ((_, row),) = api.deliveries()
    assert json.loads(row.body) == {
        "event_type": "repo.sync.finish",
        "payload": {"repo_id": "zoo", "result": "success"},
        "call_report": report,
    }
