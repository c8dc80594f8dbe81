"""Receivers as they are in use, and the documents of all event types by each notifier, on both stores."""

import json
import ssl
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

import pytest

from extensions.pulp.event_types import PULP_TYPES
from tests.extensions.pulp.notifying import listen, mail, only, start
from tests.support.broker import URL, Exchange, rabbitmq
from tests.support.certificates import authority, ca_file, tls_for
from tests.support.mailbox import mailbox, smtp
from tests.support.receivers import Request, receiver, reply

__all__ = ["authority", "ca_file", "mail", "mailbox", "receiver", "smtp", "start", "tls_for"]  # fixtures

DISTRIBUTOR = {"repo_id": "zoo", "distributor_id": "yum_distributor"}
ENDED = {
    "started": "2016-03-01T12:00:00Z",
    "completed": "2016-03-01T12:00:05Z",
    "error_message": None,
    "exception": None,
    "traceback": None,
    "id": "56d58f8b45ef4838c2f81c36",
}
PAYLOADS = {
    "repo.sync.start": {"repo_id": "zoo"},
    "repo.sync.finish": {
        **ENDED,
        "repo_id": "zoo",
        "importer_id": "yum_importer",
        "importer_type_id": "yum_importer",
        "result": "success",
        "added_count": 32,
        "updated_count": 0,
        "removed_count": 0,
        "summary": {"packages": {"state": "COMPLETE", "num_synced_new_rpms": 32}, "size": {"$numberLong": "1"}},
        "details": {"unit": {"_id": {"$oid": "56d58f8b45ef4838c2f81c35"}, "updated": {"$date": 1456833605000}}},
        "_ns": "repo_sync_results",
    },
    "repo.publish.start": DISTRIBUTOR,
    "repo.publish.finish": {
        **ENDED,
        **DISTRIBUTOR,
        "distributor_type_id": "yum_distributor",
        "result": "failed",
        "error_message": "zoö: no space left\non device",
        "exception": ["OSError"],
        "traceback": ["line\n"],
        "summary": {},
        "details": {},
        "_ns": "repo_publish_results",
    },
}
REPORT = {
    "_href": "/pulp/api/v2/tasks/c5f6f2f5-1c5b-4a0c-9f0c-8d1f7e0c9a11/",
    "_id": {"$oid": "56d58f8b45ef4838c2f81c30"},
    "_ns": "task_status",
    "id": "56d58f8b45ef4838c2f81c30",
    "task_id": "c5f6f2f5-1c5b-4a0c-9f0c-8d1f7e0c9a11",
    "task_type": "pulp.server.managers.repo.sync.sync",
    "state": "running",
    "tags": ["pulp:repository:zoo", "pulp:action:sync"],
    "start_time": "2016-03-01T12:00:00Z",
    "finish_time": None,
    "progress_report": {"yum_importer": {"content": {"items_left": 0}}},
    "result": None,
    "worker_name": "reserved_resource_worker-0@zoo",
    "error": None,
    "spawned_tasks": [{"_href": "/pulp/api/v2/tasks/d1/", "task_id": "d1"}],
    "exception": None,
    "traceback": None,
}


@pytest.mark.parametrize("report", [REPORT, None], ids=["within-a-task", "outside-a-task"])
@pytest.mark.parametrize("event_type", PULP_TYPES)
class TestDocuments:
    @pytest.fixture
    def document(self, event_type, report):
        return {"event_type": event_type, "payload": PAYLOADS[event_type], "call_report": report}

    def send(self, api, worker, document):
        assert api.ask("POST", "/pulp/notifications", document)["is_new"]
        assert {row.status for row in worker.attempt()} == {"delivered"}

    def test_http_and_email_notifiers_pass_them_on_unchanged(self, start, receiver, mail, mailbox, document):
        api, worker = start(**mail)
        there = receiver()
        listen(api, url=there.url("/", "127.0.0.1"))
        listen(api, "email", subject="Zoo", addresses=["a@example.com"])
        self.send(api, worker, document)
        assert json.loads(only(there.requests).body) == document
        assert mailbox.mail().get_content().splitlines() == json.dumps(document, indent=2).splitlines()

    @rabbitmq
    def test_amqp_notifiers_pass_them_on_unchanged(self, start, document):
        exchange = Exchange(hostname=URL, binding=f"pulp.server.{document['event_type']}")
        try:
            api, worker = start(EXTENSION_PULP_AMQP_URL=URL)
            listen(api, "amqp", exchange=exchange.name)
            self.send(api, worker, document)
            got = exchange.get()
            assert json.loads(got.body) == document
            assert got.delivery_info["exchange"] == exchange.name
        finally:
            exchange.close()


@pytest.mark.parametrize(
    ("event_type", "paths"),
    [
        ("repo.sync.start", ["/all", "/sync"]),
        ("repo.publish.finish", ["/all", "/publish"]),
        ("repo.sync.finish", ["/all"]),
    ],
)
def test_each_listener_that_wants_an_event_is_notified_once_at_its_own_url(start, receiver, event_type, paths):
    api, worker = start()
    there = receiver()
    for path, wanted in (("/sync", "repo.sync.start"), ("/publish", "repo.publish.finish"), ("/all", "*")):
        api.create(notifier_config={"url": there.url(path, "127.0.0.1")}, event_types=[wanted])
    api.notify(event_type, PAYLOADS[event_type], REPORT)
    assert {row.status for row in worker.attempt()} == {"delivered"}
    assert sorted(request.path for request in there.requests) == paths
    document = {"event_type": event_type, "payload": PAYLOADS[event_type], "call_report": REPORT}
    assert all(json.loads(request.body) == document for request in there.requests)


@dataclass
class Katello:
    """Katello's ``sync_complete``, which needs the token, the repository and the task."""

    token: str = "test"
    finished: list[tuple[str, str]] = field(default_factory=list)

    def __call__(self, request: Request) -> bytes:
        url = urlsplit(request.path)
        if (request.method, url.path) != ("POST", "/katello/api/v2/repositories/sync_complete"):
            return reply(404)
        if parse_qs(url.query).get("token") != [self.token]:
            return reply(403)
        sent = json.loads(request.body)
        self.finished.append((sent["payload"]["repo_id"], sent["call_report"]["task_id"]))
        return reply(200, b"{}", Content_Type="application/json")


class TestKatello:
    @pytest.fixture
    def katello(self):
        return Katello()

    @pytest.fixture
    def listening(self, start, receiver, katello, tls_for, ca_file):
        """The API with a listener as Katello makes it: by https, with an authority of its own."""
        there = receiver(answer=katello, tls=tls_for("127.0.0.1"))
        api, worker = start(EXTENSION_DELIVERY_CA_FOLDER=ca_file.removesuffix("/ca.pem"))
        url = there.url("/katello/api/v2/repositories/sync_complete?token=test", "127.0.0.1")
        config = {"url": url, "ca_path": ca_file}
        return api, worker, api.create(notifier_config=config, event_types=["repo.sync.finish"])

    def test_it_learns_repository_and_task_of_a_finished_sync(self, listening, katello):
        api, worker, _ = listening
        for event_type in PULP_TYPES:
            api.notify(event_type, PAYLOADS[event_type], REPORT)
        assert only(worker.attempt()).status == "delivered"
        assert katello.finished == [("zoo", REPORT["task_id"])]

    def test_a_changed_token_is_seen_and_an_update_delivers_what_waits(self, listening, katello):
        api, worker, made = listening
        katello.token = "new"
        api.notify("repo.sync.finish", PAYLOADS["repo.sync.finish"], REPORT)
        assert only(worker.attempt()).status == "waiting"
        assert only(api.ask("GET", f"{api.one(made['id'])}deliveries/"))["answer"] == 403
        url = made["notifier_config"]["url"].replace("token=test", "token=new")
        api.ask("PUT", api.one(made["id"]), {"notifier_config": {"url": url}})
        assert only(worker.attempt()).status == "delivered"
        assert katello.finished == [("zoo", REPORT["task_id"])]


class TestHubot:
    """The script pulp-notifier of Hubot, which reports to a chat."""

    @pytest.fixture
    def said(self):
        return []

    @pytest.fixture
    def hubot(self, receiver, said):
        def answer(request):
            sent = json.loads(request.body)
            payload = sent["payload"]
            if sent["event_type"] == "repo.sync.start":
                said.append(f"{payload['repo_id']} is synced")
            elif sent["event_type"] == "repo.sync.finish" and payload["result"] == "success":
                said.append(f"{payload['repo_id']}: {payload['summary']['packages']['num_synced_new_rpms']} new")
            else:
                said.append(f"{payload['repo_id']}: {payload['result']}")
            return reply(200)

        return receiver(answer=answer)

    def test_it_tells_of_started_finished_and_failed_syncs(self, start, hubot, said):
        api, worker = start()
        config = {"url": hubot.url("/pulp/report", "127.0.0.1")}
        api.create(notifier_config=config, event_types=["repo.sync.start", "repo.sync.finish"])
        api.notify("repo.sync.start", PAYLOADS["repo.sync.start"], REPORT)
        api.notify("repo.sync.finish", PAYLOADS["repo.sync.finish"], REPORT)
        api.notify("repo.publish.finish", PAYLOADS["repo.publish.finish"], REPORT)
        api.notify("repo.sync.finish", {**PAYLOADS["repo.sync.finish"], "result": "failed"})
        assert [row.status for row in worker.attempt()] == ["delivered"] * 3
        assert said == ["zoo is synced", "zoo: 32 new", "zoo: failed"]
        assert {request.path for request in hubot.requests} == {"/pulp/report"}


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_a_receiver_without_anything_newer_than_tls_1_1_gets_nothing(start, receiver, tls_for, ca_file):
    context = tls_for("127.0.0.1")
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    there = receiver(tls=context)
    api, worker = start(EXTENSION_DELIVERY_CA_FOLDER=ca_file.removesuffix("/ca.pem"))
    listen(api, url=there.url("/", "127.0.0.1"), ca_path="ca.pem")
    api.notify()
    assert (only(worker.attempt()).status, there.requests) == ("waiting", [])
    assert there.server.ended.get(timeout=20).reason == "UNSUPPORTED_PROTOCOL"
