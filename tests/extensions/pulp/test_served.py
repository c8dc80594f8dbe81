"""The extension as users serve it: clients, real processes that are killed, both stores, and other systems' events."""

import json
import os
import random
import signal
import threading
from http.client import HTTPException
from pathlib import Path

import pytest

from extensions.croneye.tables import TABLES as CRONEYE_TABLES
from extensions.pulp.tables import TABLES
from extensions.tapis.tables import TABLES as TAPIS_TABLES
from tests.extensions.croneye.api import TOKEN as CRONEYE_TOKEN
from tests.extensions.croneye.api import VARIABLES as CRONEYE_VARIABLES
from tests.extensions.pulp.api import DOCUMENT_KEYS, UNKNOWN
from tests.extensions.pulp.clients import (
    BadRequestError,
    NotFoundError,
    PermissionsError,
    PulpAdmin,
    Runcible,
)
from tests.extensions.pulp.served import NAME, PASSWORD, PULP, Hook, bindings_of, notify, serving
from tests.support.broker import URL as AMQP_URL
from tests.support.broker import Exchange, rabbitmq
from tests.support.durable import database_url, postgresql_server, postgresql_url, store_of
from tests.support.mailbox import mailbox, smtp
from tests.support.receivers import receiver, reply, silence
from tests.support.tapis_tokens import SECRET as TAPIS_SECRET
from tests.support.tapis_tokens import headers_of
from tests.support.waiting import wait_until

__all__ = ["database_url", "mailbox", "postgresql_server", "postgresql_url", "receiver", "smtp"]  # fixtures

EXTENSIONS = Path(__file__).parents[3] / "extensions"
CRONEYE, TAPIS = (str(EXTENSIONS / name) for name in ("croneye", "tapis"))
NOTES = str(Path(__file__).with_name("notes.py"))


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared(request, tmp_path_factory):
    """A server without a worker, for the tests that only talk to it."""
    directory = tmp_path_factory.mktemp("shared")
    with (
        store_of(request, directory, [TABLES]) as url,
        serving(url, directory / "log", PULP, "--no-worker") as server,
    ):
        yield server


@pytest.fixture
def tables():
    return [TABLES, CRONEYE_TABLES, TAPIS_TABLES]


@pytest.fixture
def server(shared):
    """The shared server, which has no listeners."""
    bindings = bindings_of(shared)
    for listener in bindings.list():
        bindings.delete(listener["id"])
    return shared


class TestClients:
    def test_bindings(self, server):
        api = bindings_of(server)
        assert api.list() == []
        config = {"url": "http://localhost/api?token=a", "username": "anna", "password": "geheim"}
        first = api.create("http", config, ["repo.sync.finish"])
        second = api.create("email", {"subject": "Zoo", "addresses": ["anna@example.org"]}, ["*"])
        assert first.keys() == DOCUMENT_KEYS
        assert (first["notifier_config"], first["_id"]) == (config, {"$oid": first["id"]})
        assert api.list() == [first, second]
        changed = api.update(first["id"], {"username": None, "ca_path": "ca.pem"}, ["repo.sync.start"])
        assert changed.response_code == 200
        assert changed.response_body == {
            **first,
            "notifier_config": {"url": config["url"], "password": "geheim", "ca_path": "ca.pem"},
            "event_types": ["repo.sync.start"],
        }
        assert api.update(first["id"]).response_body == changed.response_body
        assert api.update(second["id"], event_types=["repo.publish.start"]).response_body == {
            **second,
            "event_types": ["repo.publish.start"],
        }
        gone = api.delete(first["id"])
        assert (gone.response_code, gone.response_body) == (200, None)
        assert [listener["id"] for listener in api.list()] == [second["id"]]

    def test_errors_of_the_bindings(self, server):
        api = bindings_of(server)
        with pytest.raises(BadRequestError) as bad:
            api.create("http", {}, ["repo.sync.*"])
        assert bad.value.extra_data["property_names"] == ["event_types"]
        with pytest.raises(BadRequestError) as bad:
            api.create("smtp", {}, ["*"])
        assert bad.value.extra_data["error"]["code"] == "PLP0015"
        for call in (lambda: api.update(UNKNOWN, {}, ["wrong"]), lambda: api.delete(UNKNOWN), lambda: api.delete("a")):
            with pytest.raises(NotFoundError) as missing:
                call()
            assert missing.value.extra_data["error"]["code"] == "PLP0009"
            assert (missing.value.http_status, missing.value.traceback) == (404, None)
        assert missing.value.href == "/pulp/api/v2/events/a/"
        with pytest.raises(PermissionsError) as refused:
            bindings_of(server, password="wrong").list()
        assert refused.value.extra_data["auth_error_code"] == "invalid_username_or_password"
        assert api.list() == []

    def test_commands_of_pulp_admin(self, server):
        admin = PulpAdmin(bindings_of(server))
        web = admin.create("http", ["repo.sync.start"], url="http://localhost/", username="anna", password="a")
        mail = admin.create("email", ["*"], subject="Zoo", addresses="anna@example.org,tom@example.org")
        queue = admin.create("amqp", ["repo.sync.start", "repo.sync.finish"], exchange=None)
        assert not admin.update(web)
        for id, options in (
            (web, {"url": "http://localhost/other"}),
            (web, {"username": "eva"}),
            (web, {"password": "b"}),
            (web, {"ca_path": "ca.pem"}),
            (web, {"event_types": ["repo.sync.finish", "repo.publish.finish"]}),
            (mail, {"subject": "Ark"}),
            (mail, {"addresses": "noah@example.org"}),
            (queue, {"exchange": "animals"}),
        ):
            before = {listener["id"]: listener for listener in admin.list()}
            assert admin.update(id, **options)
            key, value = next(iter(options.items()))
            sent = value.split(",") if key == "addresses" else value
            config = before[id]["notifier_config"]
            changed = {key: sent} if key == "event_types" else {"notifier_config": {**config, key: sent}}
            assert {listener["id"]: listener for listener in admin.list()} == before | {id: before[id] | changed}
        web_config = {"url": "http://localhost/other", "username": "eva", "password": "b", "ca_path": "ca.pem"}
        mail_config = {"subject": "Ark", "addresses": ["noah@example.org"]}
        assert [tuple(listener.values()) for listener in admin.list()] == [
            (["repo.sync.finish", "repo.publish.finish"], web, web_config, "http"),
            (["*"], mail, mail_config, "email"),
            (["repo.sync.start", "repo.sync.finish"], queue, {"exchange": "animals"}, "amqp"),
        ]
        for id in (web, mail, queue):
            admin.delete(id)
        assert admin.list() == []

    def test_runcible(self, server):
        client = Runcible(server.port, NAME, PASSWORD)
        url = "https://katello.example.com/katello/api/v2/repositories/sync_complete?token=test"
        made = client.create("http", {"url": url, "ca_path": "/etc/pki/ca.crt"}, ["repo.sync.finish"])
        assert made["id"]
        assert [each["notifier_config"]["url"] for each in client.list()] == [url]
        assert client.delete(made["id"]) is None
        assert client.list() == []


class TestDying:
    def test_killed_processes_lose_nothing_and_keep_the_order_of_each_repository(
        self, database_url, tmp_path, receiver
    ):
        """A receiver fails, hangs and hangs up meanwhile."""
        random.seed(7)
        ill = {3: reply(503), 4: reply(204), 5: silence, 6: lambda connection: None, 12: reply(404), 15: silence}
        hooks = [Hook(receiver), Hook(receiver, ill.get)]
        accepted: set[tuple[str, int, str]] = set()
        stop = threading.Event()

        def sync(server, repo_id):
            number = 0
            while not stop.is_set():
                for name in ("repo.sync.start", "repo.sync.finish"):
                    try:
                        answer = notify(server, name, repo_id, f"{repo_id}-{number}", number=number)
                    except (OSError, HTTPException):  # whoever was to answer has been killed
                        continue
                    if answer.status == 200:
                        accepted.add((repo_id, number, name))
                number += 1

        with serving(database_url, tmp_path / "log", PULP, EXTENSION_PULP_TIMEOUT=1) as server:
            api = bindings_of(server)
            api.create("http", {"url": hooks[0].url}, ["*"])
            api.create("http", {"url": hooks[1].url}, ["repo.sync.start", "repo.sync.finish"])
            repositories = [threading.Thread(target=sync, args=(server, f"repo-{number}")) for number in range(4)]
            for repository in repositories:
                repository.start()
            try:
                for number in range(4):
                    before = len(accepted)
                    wait_until(lambda before=before: len(accepted) > before + random.randrange(4, 20), timeout=60)
                    killed = server.children("worker" if number % 2 else "serve")
                    assert killed
                    for pid in killed:
                        os.kill(pid, signal.SIGKILL)
                    wait_until(lambda: server.health("readiness") == 200)
            finally:
                stop.set()
                for repository in repositories:
                    repository.join(60)
            for hook in hooks:
                wait_until(lambda hook=hook: accepted <= set(hook.steps), timeout=90)
        assert hooks[1].came > max(ill)
        assert all(hook.taken[0]["call_report"]["task_id"].startswith("repo-") for hook in hooks)
        for hook in hooks:
            for number in range(4):
                steps = [(place, name) for repo_id, place, name in hook.steps if repo_id == f"repo-{number}"]
                assert steps == sorted(steps, key=lambda step: (step[0], step[1] == "repo.sync.finish"))
            # A worker is killed twice, and what it had made since its last transaction is made again.
            assert max(hook.times.values()) <= 1 + 2


class TestTogether:
    def listened(self, server):
        return [name for each in server.request("GET", "/").json["eventListeners"] for name in each["listenTo"]]

    def post_steadybit(self, server, body):
        """Post an event as an agent does: to each path that wants its name."""
        for each in server.request("GET", "/").json["eventListeners"]:
            if body["eventName"] in each["listenTo"] or "*" in each["listenTo"]:
                assert server.post(each["path"], body).status == 200

    def post_croneye(self, server):
        job = {"event_code": 8192, "alias": "billing", "job_id": "1", "exception": "no", "traceback": "line"}
        assert server.post("/event", job, {"Authorization": f"Token {CRONEYE_TOKEN}"}).status == 200

    @rabbitmq
    def test_an_event_of_each_system_reaches_everybody(self, database_url, tmp_path, receiver, event, smtp, mailbox):
        ledger = tmp_path / "ledger"
        ledger.touch()
        names = {"experiment.execution.failed", "croneye.job.error", "jobs.new_status.failed", "repo.sync.finish"}
        environment = {
            **CRONEYE_VARIABLES,
            "LEDGER": ledger,
            "EXTENSION_TAPIS_JWT_SECRET": TAPIS_SECRET,
            "EXTENSION_PULP_EVENT_TYPES": "experiment.execution.failed,croneye.job.error,jobs.new_status.failed",
            "EXTENSION_PULP_AMQP_URL": AMQP_URL,
            "EXTENSION_SMTP_HOST": "127.0.0.1",
            "EXTENSION_SMTP_PORT": smtp(),
            "EXTENSION_SMTP_SECURITY": "none",
            "EXTENSION_SMTP_SENDER": "Pulp <pulp@example.com>",
        }
        exchange = Exchange(hostname=AMQP_URL, binding="pulp.server.#")
        hook = Hook(receiver)
        try:
            with serving(database_url, tmp_path / "log", PULP, CRONEYE, TAPIS, NOTES, **environment) as server:
                api = bindings_of(server)
                api.create("http", {"url": hook.url}, ["*"])
                api.create("email", {"subject": "Zoo", "addresses": ["anna@example.org"]}, sorted(names))
                api.create("amqp", {"exchange": exchange.name}, ["*"])
                failed = event("experiment.execution.failed")
                self.post_steadybit(server, failed)
                self.post_croneye(server)
                published = {
                    "source": "https://tapis.io/jobs",
                    "type": "jobs.new_status.failed",
                    "timestamp": "now",
                    "subject": "run-1",
                    "data": "text",
                }
                answer = server.post(
                    "/v3/notifications/events/publish", published, headers_of("testuser1", "dev", service="jobs")
                )
                assert answer.status == 200, answer.body
                assert notify(server, "repo.sync.finish", "zoo", "task-1", result="failed").status == 200
                wait_until(lambda: set(ledger.read_text().splitlines()) == names)
                wait_until(lambda: set(hook.names) == names)
                mailed = [mailbox.mail() for _ in names]
                queued = [wait_until(exchange.poll) for _ in names]
        finally:
            exchange.close()
        posted = {each["event_type"]: each for each in hook.taken}
        assert posted["repo.sync.finish"] == {
            "event_type": "repo.sync.finish",
            "payload": {"repo_id": "zoo", "result": "failed"},
            "call_report": {"task_id": "task-1", "state": "running", "tags": []},
        }
        assert posted["experiment.execution.failed"] == {
            "event_type": "experiment.execution.failed",
            "payload": failed,
            "call_report": None,
        }
        assert {(mail["Subject"], mail["To"]) for mail in mailed} == {("Zoo", "anna@example.org")}
        texts = [json.loads(mail.get_content()) for mail in mailed]
        assert {text["event_type"]: text for text in texts} == posted
        assert {each.delivery_info["routing_key"]: json.loads(each.body) for each in queued} == {
            f"pulp.server.{name}": notification for name, notification in posted.items()
        }
        assert sorted(ledger.read_text().splitlines()) == sorted(hook.names) == sorted(names)

    def test_agents_are_asked_for_what_listeners_want(self, database_url, tmp_path, receiver, event):
        environment = {
            **CRONEYE_VARIABLES,
            "EXTENSION_PULP_EVENT_TYPES": "experiment.execution.failed,croneye.job.*",
        }
        hook, other = Hook(receiver), Hook(receiver)
        with serving(database_url, tmp_path / "log", PULP, CRONEYE, **environment) as server:
            api = bindings_of(server)
            with pytest.raises(BadRequestError):
                api.create("http", {"url": other.url}, ["experiment.execution.created"])
            api.create("http", {"url": other.url}, ["croneye.job.error", "repo.sync.start"])
            assert "experiment.execution.failed" not in self.listened(server)
            made = api.create("http", {"url": hook.url}, ["experiment.execution.failed"])
            wait_until(lambda: "experiment.execution.failed" in self.listened(server))
            assert not [name for name in self.listened(server) if name.startswith(("repo", "croneye"))]
            failed = event("experiment.execution.failed")
            self.post_steadybit(server, failed)
            self.post_croneye(server)
            wait_until(lambda: hook.taken and other.taken)
            assert hook.taken == [{"event_type": "experiment.execution.failed", "payload": failed, "call_report": None}]
            assert other.names == ["croneye.job.error"]
            api.delete(made["id"])
            wait_until(lambda: "experiment.execution.failed" not in self.listened(server))
