"""The API answers what the pages show, as its document says, and acts with the same rights."""

import json
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl

import jsonschema_rs
import pytest
from sqlalchemy import insert

from extension_kit import Extension
from extension_kit.deliveries import action_rows
from extension_kit.deliveries.outbox import Outbox
from extension_kit.deliveries.pauses import paused
from extension_kit.deliveries.tables import CLAIMED, DEAD, DELIVERED, DISCARDED, LATER, WAITING, attempts
from extension_kit.deliveries.worker_rows import OpenCircuit, WorkerRow, report
from extension_kit.event_log.actions import MOST_ACTIONS
from extension_kit.event_log.api_document import build_document
from tests.support.event_log import basic
from tests.support.log_clients import ORIGIN, log_client
from tests.support.recording import all_of, change, entry
from tests.support.waiting import wait_until

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
LISTENER = "oncall.page@/page"
BODY = json.dumps({"id": "0", "apiToken": "s3cret", "url": "http://user:s3cret@example.com/?token=s3cret"})
DOCUMENT = build_document()


def schema(name):
    components = DOCUMENT["components"]
    return jsonschema_rs.Draft202012Validator(
        {"$ref": f"#/components/schemas/{name}", "components": components}, validate_formats=True
    )


@pytest.fixture
def refs(database):
    """Deliveries of one series: three dead letters with an attempt, one that waits, one that was delivered."""
    some = [
        entry(str(n), LISTENER, name=f"job.{n}", subject="ADM-1/1", series="t/1", body=BODY.encode()) for n in range(5)
    ]
    Outbox(database).record(some)
    refs = [row.ref for row in all_of(database)]
    change(
        database,
        refs[:3],
        status=DEAD,
        stage=None,
        attempts=1,
        error="no answer, token=s3cret",
        ended_at=datetime.now(UTC),
    )
    change(database, refs[3:4], stage=LATER, due_at=NOW + DAY)
    change(database, refs[4:], status=DELIVERED, stage=None, ended_at=NOW)
    now = datetime.now(UTC)
    tried = {"number": 1, "started_at": now, "ended_at": now, "result": "failed", "status": 503}
    said = {"error": "HTTP 503", "excerpt": "Authorization: Basic czNjcmV0OnMzY3JldA=="}
    with database.transaction() as connection:
        connection.execute(insert(attempts), [{"delivery_ref": ref, **tried, **said} for ref in refs[:3]])
    return refs


@pytest.fixture
def client(database, refs):
    with log_client(database) as client:
        yield client


def got(client, path, name, **options):
    """The JSON at a path, which matches its schema."""
    found = client.get(path, **options)
    assert found.status_code == 200, found.text
    assert found.content_type == "application/json"
    problems = [f"{list(each.instance_path)}: {each.message}" for each in schema(name).iter_errors(found.json)]
    assert problems == []
    return found.json


def refused(answer, status, *sentences):
    """Nothing but an error in the kit's form."""
    assert answer.status_code == status, answer.text
    assert answer.content_type == "application/json"
    assert schema("Error").is_valid(answer.json)
    for sentence in sentences:
        assert sentence in answer.json["detail"]
    return answer


def statuses(database):
    return [row.status for row in all_of(database)]


class TestLists:
    def test_events(self, client):
        found = got(client, "/api/events", "Events")
        assert [each["event"] for each in found["events"]] == [f"job.{n}" for n in (4, 3, 2, 1, 0)]
        assert found["events"][-1]["deliveries"] == {"waiting": 0, "delivered": 0, "dead": 1, "discarded": 0}
        assert found["events"][0]["size"] == len(BODY)
        assert found["count"] == {"number": 5, "is_exact": True}
        assert [each["event_id"] for each in got(client, "/api/events?event=job.1", "Events")["events"]] == ["1"]

    def test_deliveries(self, client, refs):
        found = got(client, "/api/deliveries?status=dead&error=NO+ANSWER", "Deliveries")
        assert [each["ref"] for each in found["deliveries"]] == refs[2::-1]
        assert found["count"] == {"number": 3, "is_exact": True}
        (waiting,) = got(client, f"/api/deliveries?ref={refs[3]}", "Deliveries")["deliveries"]
        assert (waiting["status"], waiting["series"], waiting["place_in_series"]) == (WAITING, "t/1", 4)
        assert datetime.fromisoformat(waiting["due_at"]) == NOW + DAY

    @pytest.mark.parametrize(("path", "name"), [("events", "Events"), ("deliveries", "Deliveries")])
    def test_pages_follow_each_other(self, client, path, name):
        whole = got(client, f"/api/{path}", name)
        assert whole["next"] is None
        seen, place = [], ""
        for _ in range(3):
            page = got(client, f"/api/{path}?limit=2{place}", name)
            seen += page[path]
            place = f"&before={page['next']}"
        assert page["next"] is None
        assert seen == whole[path]

    def test_runs_and_the_events_of_one(self, client, database):
        for number in (7, 8):
            same = {"source": "steadybit", "subject": f"ADM-1/{number}", "series": f"t/{number}"}
            names = [f"experiment.execution.{word}" for word in ("created", "failed")]
            Outbox(database).record([entry(f"{name} {number}", LISTENER, name=name, **same) for name in names])
        found = got(client, "/api/runs", "Runs")
        assert [each["subject"] for each in found["runs"]][:2] == ["ADM-1/8", "ADM-1/7"]
        assert (found["runs"][0]["state"], found["runs"][0]["events"]) == ("failed", 2)
        assert found["runs"][0]["deliveries"]["waiting"] == 2
        newest = got(client, "/api/runs?limit=1", "Runs")
        older = got(client, f"/api/runs?limit=1&before={newest['next']}", "Runs")
        assert [each["subject"] for each in newest["runs"] + older["runs"]] == ["ADM-1/8", "ADM-1/7"]
        for path in ("ADM-1/7", "ADM-1%2F7"):
            run = got(client, f"/api/runs/{path}", "WholeRun")
            assert [each["event_id"] for each in run["events"]] == [f"{name} 7" for name in names[::-1]]
        page = got(client, "/api/runs/ADM-1/7?limit=1", "WholeRun")
        last = got(client, f"/api/runs/ADM-1/7?limit=1&before={page['next']}", "WholeRun")
        assert page["events"] + last["events"] == run["events"]
        refused(client.get("/api/runs/ADM-1/9"), 404, "There is no run ADM-1/9")
        refused(client.get("/api/runs/" + "x" * 1001), 400, "subject is a text of up to 1,000 characters")

    @pytest.mark.parametrize(("span", "number"), [("", 60), ("?range=24h", 48), ("?range=7d", 56)])
    def test_overview(self, client, span, number):
        found = got(client, f"/api/overview{span}", "Overview")
        assert (found["waiting"]["number"], found["dead"]["number"]) == (1, 3)
        assert [(each["listener"], each["number"]) for each in found["waiting_by_listener"]] == [(LISTENER, 1)]
        (dead,) = found["dead_by_listener_and_error"]
        assert (dead["listener"], dead["error"], dead["number"]) == (LISTENER, "no answer, token=***", 3)
        assert found["unfiled"] == {"events": 0, "since": None}
        assert len(found["rates"]) == number
        assert sum(each["failed"] for each in found["rates"]) == 3
        begins = [datetime.fromisoformat(each["begin"]) for each in found["rates"]]
        assert begins[-1] <= datetime.now(UTC) < begins[-1] + (begins[1] - begins[0])

    def test_actions(self, client, database):
        for n in range(3):
            with database.transaction() as connection:
                action_rows.begin(connection, "replay", f"ada {n}", "status=dead", 3, NOW + DAY)
        newest = got(client, "/api/actions?limit=2", "Actions")
        oldest = got(client, f"/api/actions?limit=2&before={newest['next']}", "Actions")
        assert [each["made_by"] for each in newest["actions"] + oldest["actions"]] == ["ada 2", "ada 1", "ada 0"]
        assert {each["state"] for each in newest["actions"]} == {"running"}
        assert oldest["next"] is None

    def test_receivers(self, database, refs):
        extension = Extension("oncall")

        @extension.listen_to("job.*", path="/page")
        def page(event): ...

        with log_client(database, extension) as client:
            client.send_json("/api/receivers/pause", {"listener": LISTENER})
            (found,) = got(client, "/api/receivers", "Receivers")["receivers"]
        assert (found["listener"], found["kind"], found["events"]) == (LISTENER, "function", ["job.*"])
        assert (found["waiting"], found["dead"]) == ({"number": 1, "is_exact": True}, {"number": 3, "is_exact": True})
        assert found["paused_by"] == "anonymous"

    def test_workers(self, client, database):
        row = WorkerRow("k", "host", 7, NOW - DAY, NOW - DAY, 10, 3, [OpenCircuit("subscription:1", NOW)])
        with database.transaction() as connection:
            report(connection, row)
            report(connection, row._replace(key="l", started_at=NOW, seen_at=datetime.now(UTC)))
        silent, alive = got(client, "/api/workers", "Workers")["workers"]
        assert (silent["key"], silent["is_silent"], alive["is_silent"]) == ("k", True, False)
        assert [each["receiver"] for each in silent["open_circuits"]] == ["subscription:1"]


class TestOne:
    def test_event_with_its_body_without_secrets(self, client):
        ref = got(client, "/api/events?event=job.0", "Events")["events"][0]["ref"]
        found = got(client, f"/api/events/{ref}", "WholeEvent")
        assert found["body"] == {"id": "0", "apiToken": "***", "url": "http://***@example.com/?token=***"}
        assert (found["body_is_cut"], found["size"]) == (False, len(BODY))
        assert [(each["listener"], each["status"]) for each in found["deliveries"]] == [(LISTENER, DEAD)]

    @pytest.mark.parametrize(("may_see_raw", "secret"), [(True, "s3cret"), (False, "***")])
    def test_the_right_to_see_bodies_as_they_are(self, database, refs, may_see_raw, secret):
        with log_client(database, event_log_raw=may_see_raw) as client:
            ref = got(client, "/api/events", "Events")["events"][0]["ref"]
            assert got(client, f"/api/events/{ref}", "WholeEvent")["body"]["apiToken"] == "***"
            assert got(client, f"/api/events/{ref}?raw=1", "WholeEvent")["body"]["apiToken"] == secret

    @pytest.mark.parametrize("body", [b"", b"\xff\x00 <script>", b"[" * 2000, b'{"a": "' + b"x" * 2_000_000 + b'"}'])
    def test_any_body_is_answered(self, client, database, body):
        Outbox(database).record([entry("odd", LISTENER, body=body)])
        ref = got(client, "/api/events?event_id=odd", "Events")["events"][0]["ref"]
        found = got(client, f"/api/events/{ref}", "WholeEvent")
        assert found["size"] == len(body)
        assert len(json.dumps(found)) < 1_000_000

    def test_delivery_with_its_attempts_without_secrets(self, client, refs):
        found = got(client, f"/api/deliveries/{refs[0]}", "WholeDelivery")
        assert (found["attempts"], found["error"]) == (1, "no answer, token=***")
        (attempt,) = found["history"]
        assert (attempt["result"], attempt["status"], attempt["error"]) == ("failed", 503, "HTTP 503")
        assert attempt["excerpt"] == "Authorization: ***"

    def test_delivery_behind_another(self, client, database, refs):
        change(database, refs[4:], status=WAITING, stage="behind", ended_at=None)
        change(database, refs[3:4], stage=CLAIMED, claimed_at=NOW)
        assert got(client, f"/api/deliveries/{refs[4]}", "WholeDelivery")["behind"] == refs[3]
        assert got(client, f"/api/deliveries/{refs[3]}", "WholeDelivery")["attempted_since"] is not None

    @pytest.mark.parametrize("kind", ["events", "deliveries", "actions"])
    @pytest.mark.parametrize("ref", [0, 999_999, 2**63 - 1])
    def test_there_is_none(self, client, kind, ref):
        refused(client.get(f"/api/{kind}/{ref}"), 404, f"There is no {kind.removesuffix('s').replace('ie', 'y')} {ref}")

    @pytest.mark.parametrize("ref", ["x", "-1", str(2**63), "1" * 400])
    def test_not_a_number(self, client, ref):
        refused(client.get(f"/api/events/{ref}"), 404)


class TestRequests:
    @pytest.mark.parametrize(
        ("path", "sentence"),
        [
            ("events?status=dead", "There is no parameter 'status' here; there are event, subject,"),
            ("events/1?x=1", "There is no parameter 'x' here; there are raw."),
            ("workers?x=1", "There is no parameter 'x' here; there are none."),
            ("deliveries?status=dead&status=waiting", "status occurs twice"),
            ("deliveries?status=", "The parameter status is empty"),
            ("deliveries?status=odd", "status is one of"),
            ("deliveries?from=yesterday", "neither a time"),
            ("deliveries?event=job-*", "event: "),
            ("deliveries?limit=0", "limit is a number from 1 to 200"),
            ("deliveries?before=e1", "before is no place in this list"),
            ("actions?before=d1", "before is no place in this list"),
            ("events/1?raw=yes", "raw is 0 or 1"),
            ("overview?range=2h", "range is one of 1h, 24h, 7d"),
            ("runs?before=e1", "before is no place in this list"),
            ("runs?event=x", "There is no parameter 'event' here"),
            ("receivers?after=-1", "after is a number"),
            ("receivers?after=" + "1" * 19, "after is a number"),
        ],
    )
    def test_parameters_that_are_not_allowed(self, client, path, sentence):
        refused(client.get(f"/api/{path}"), 400, sentence)

    def test_what_has_not_changed_is_not_sent_again(self, client, database, refs):
        for path in (
            "events",
            "deliveries",
            f"deliveries/{refs[0]}",
            "receivers",
            "actions",
            "workers",
            "openapi.json",
        ):
            first = client.get(f"/api/{path}")
            tag = first.headers["ETag"]
            for known in (tag, f'"other", W/{tag}', "*"):
                again = client.get(f"/api/{path}", headers={"If-None-Match": known})
                assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", tag)
        change(database, refs[:1], error="another one")
        first = client.get("/api/deliveries")
        assert client.get("/api/deliveries", headers={"If-None-Match": tag}).data == first.data

    def test_other_methods(self, client):
        for path in ("/api/events", "/api/deliveries/1", "/api/openapi.json"):
            answer = refused(client.send_json(path, {}), 405)
            assert "GET" in answer.headers["Allow"]
        answer = refused(client.get("/api/deliveries/replay"), 405)
        assert answer.headers["Allow"] == "POST"
        refused(client.get("/api/nothing"), 404)


def act(client, path, body, status=202):
    answer = client.send_json(f"/api/deliveries/{path}", body)
    assert answer.status_code == status, answer.text
    if status == 202:
        assert list(schema("Action").iter_errors(answer.json)) == []
        assert answer.headers["Location"] == f"/api/actions/{answer.json['ref']}"

        def is_over():
            found = got(client, answer.headers["Location"], "Action")
            return found["ended_at"] and found

        return wait_until(is_over)
    return refused(answer, status)


class TestActions:
    @pytest.mark.parametrize(
        ("path", "body", "after"),
        [
            ("replay", {"filter": {}, "expected": 3}, [WAITING, WAITING, WAITING, WAITING, DELIVERED]),
            ("replay", {"filter": {"event": "job.1"}, "expected": 1}, [DEAD, WAITING, DEAD, WAITING, DELIVERED]),
            ("discard", {"filter": {"error": "NO"}, "expected": 3}, [DISCARDED] * 3 + [WAITING, DELIVERED]),
            ("discard", {"filter": {"status": "waiting"}, "expected": 1}, [DEAD] * 3 + [DISCARDED, DELIVERED]),
        ],
    )
    def test_all_that_match(self, client, database, path, body, after):
        found = act(client, path, body)
        assert (found["state"], found["made_by"], found["changed"]) == ("done", "anonymous", body["expected"])
        assert dict(parse_qsl(found["filter"])).items() >= body["filter"].items()
        assert statuses(database) == after

    def test_those_named(self, client, database, refs):
        assert act(client, "replay", {"refs": [refs[2], refs[0], refs[0], refs[4]]})["changed"] == 2
        assert statuses(database) == [WAITING, DEAD, WAITING, WAITING, DELIVERED]
        assert act(client, "discard", {"refs": refs, "expected": 4})["changed"] == 4
        assert statuses(database) == [DISCARDED] * 4 + [DELIVERED]

    def test_try_now(self, client, database, refs):
        assert act(client, "retry-now", {"filter": {"listener": "oncall"}, "expected": 1})["changed"] == 1
        assert all_of(database)[3].due_at < datetime.now(UTC)

    def test_another_number_than_expected(self, client, database, refs):
        answer = act(client, "replay", {"filter": {}, "expected": 2}, 409)
        assert "The expected number is 3" in answer.json["detail"]
        act(client, "replay", {"refs": refs[:1], "expected": 2}, 409)
        act(client, "retry-now", {"filter": {}, "expected": 0}, 409)
        assert statuses(database)[0] == DEAD

    def test_there_are_none(self, client, refs):
        answer = act(client, "replay", {"refs": refs[3:]}, 409)
        assert answer.json["detail"] == "There are no dead letters among these deliveries."
        act(client, "replay", {"filter": {"source": "elsewhere"}, "expected": 0}, 409)

    @pytest.mark.parametrize(
        ("body", "sentence"),
        [
            ({}, "The body has either `refs`"),
            ({"refs": [1], "filter": {}, "expected": 1}, "The body has either `refs`"),
            ({"filter": {}}, "The body has no `expected`"),
            ({"refs": []}, "/refs: it has less than 1 item"),
            ({"refs": ["7"]}, "/refs/0: it is not of type"),
            ({"refs": [0]}, "/refs/0: it is less than the minimum of 1"),
            ({"refs": [10**18]}, "/refs/0: it is greater than the maximum"),
            ({"refs": [7] * 1001}, "/refs: it has more than 1000 items"),
            ({"refs": [7], "all": True}, "Additional properties are not allowed"),
            ({"filter": {"state": "dead"}, "expected": 1}, "/filter: Additional properties are not allowed"),
            ({"filter": {"status": "odd"}, "expected": 1}, "/filter/status: it is not one of"),
            ({"filter": {"status": "waiting"}, "expected": 1}, "Only dead letters can be replayed"),
            ({"filter": {"from": "yesterday"}, "expected": 1}, "neither a time"),
            ({"filter": {"error": "\x00"}, "expected": 1}, "without NUL"),
            ({"filter": {}, "expected": -1}, "/expected: it is less than the minimum of 0"),
            ([], "it is not of type"),
            ("refs", "it is not of type"),
        ],
    )
    def test_bodies_that_are_not_allowed(self, client, database, body, sentence):
        refused(client.send_json("/api/deliveries/replay", body), 400, sentence)
        assert statuses(database)[:3] == [DEAD] * 3

    def test_a_body_that_is_not_json(self, client):
        for data in (b"", b"{", b"\xff", b'"\\ud800"'):
            refused(client.post("/api/deliveries/replay", data=data), 400, "The body is not JSON: ")

    def test_a_body_that_is_too_large(self, client):
        refused(client.post("/api/deliveries/replay", data=b" " * 70_000), 413)

    def test_when_too_many_have_not_ended(self, client, database):
        for _ in range(MOST_ACTIONS):
            client.actions._room.acquire()
        answer = client.send_json("/api/deliveries/replay", {"filter": {}, "expected": 3})
        assert refused(answer, 503, "Too many actions").headers["Retry-After"] == "5"
        assert statuses(database)[0] == DEAD

    def test_a_receiver_is_paused_and_resumed(self, client, database):
        for action, is_paused, has_changed in (
            ("pause", True, True),
            ("pause", True, False),
            ("resume", False, True),
            ("resume", False, False),
        ):
            answer = client.send_json(f"/api/receivers/{action}", {"listener": LISTENER})
            assert schema("ReceiverState").is_valid(answer.json)
            assert answer.json == {"listener": LISTENER, "is_paused": is_paused, "has_changed": has_changed}
            with database.read() as connection:
                assert list(paused(connection)) == [LISTENER] * is_paused
        assert [each["kind"] for each in got(client, "/api/actions", "Actions")["actions"]] == ["resume", "pause"]

    def test_a_receiver_that_is_not_there(self, client):
        refused(client.send_json("/api/receivers/pause", {"listener": "nobody"}), 409, "There is no receiver 'nobody'")
        refused(client.send_json("/api/receivers/pause", {"listener": ""}), 400)
        refused(client.send_json("/api/receivers/pause", {}), 400)


POSTS = [path for path, methods in DOCUMENT["paths"].items() if "post" in methods]
GETS = [
    path.replace("{ref}", "1").replace("{subject}", "ADM-1/1")
    for path, methods in DOCUMENT["paths"].items()
    if "get" in methods
]


class TestRights:
    @pytest.mark.parametrize("path", POSTS)
    def test_who_may_only_look_changes_nothing(self, database, refs, path):
        with log_client(database, event_log_read_only=True) as client:
            refused(client.send_json(path, {"refs": refs[:1]}), 403, "read-only")
            assert got(client, "/api/deliveries", "Deliveries")["count"]["number"] == 5
            assert got(client, "/api/actions", "Actions")["actions"] == []
        assert statuses(database)[0] == DEAD

    def test_the_password_is_asked_for(self, database, refs):
        with log_client(database, event_log_open="", event_log_password="a long password") as client:
            for path in GETS:
                assert "Basic" in refused(client.get(path), 401).headers["WWW-Authenticate"]
            for path in POSTS:
                refused(client.send_json(path, {"refs": refs[:1]}), 401)
            right = basic("ada", "a long password")
            assert client.get("/api/deliveries", headers=right).status_code == 200
            begun = client.send_json("/api/deliveries/replay", {"refs": refs[:1]}, **right)
            assert (begun.status_code, begun.json["made_by"]) == (202, "ada (by password)")

    @pytest.mark.parametrize("path", POSTS)
    def test_a_page_elsewhere_changes_nothing(self, client, database, refs, path):
        refused(client.send_json(path, {"refs": refs[:1]}, **{"Sec-Fetch-Site": "cross-site"}), 403)
        refused(client.send_json(path, {"refs": refs[:1]}, Origin=ORIGIN), 403)
        assert statuses(database)[0] == DEAD

    def test_a_page_of_its_own_sends_the_token(self, client, refs):
        headers = {"Origin": ORIGIN, "X-CSRF-Token": client.csrf}
        assert client.send_json("/api/deliveries/replay", {"refs": refs[:1]}, **headers).status_code == 202
