"""Tapis's own client against real servers, workers and receivers, on both stores: what is promised, under failure."""

import itertools
import json
import os
import random
import signal
import socket
import threading
import time
from collections import Counter
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from extensions.tapis.tables import TABLES
from tests.extensions.tapis.tapipy_process import HERE, CallError, Tapipy
from tests.support.commands import extension_kit
from tests.support.durable import database_url, postgresql_server, postgresql_url, store_of
from tests.support.mailbox import Mailbox, smtp
from tests.support.paths import KIT
from tests.support.receivers import receiver, reply, silence
from tests.support.servers import Served, run_server
from tests.support.tapis_tokens import SECRET, headers_of
from tests.support.waiting import wait_until

__all__ = ["database_url", "postgresql_server", "postgresql_url", "receiver", "smtp"]  # fixtures

ROOT = Path(__file__).parents[3]
TAPIS = str(ROOT / "extensions" / "tapis")
FOLLOWS = str(Path(__file__).parent / "apps" / "follows.py")

_numbers = itertools.count()

pytestmark = pytest.mark.skipif(not HERE.exists(), reason="make test installs Tapis's own client, tapipy")


def environment_of(database_url, directory):
    """What the processes of a test are started with; the database is ready to be used."""
    return {
        "EXTENSION_DATABASE_URL": database_url,
        "EXTENSION_TAPIS_JWT_SECRET": SECRET,
        "EXTENSION_TAPIS_RETRY_SCHEDULE": "0.05,0.05",
        "EXTENSION_TAPIS_RECOVERY_SCHEDULE": "0.3x100",
        "EXTENSION_TAPIS_DELIVERY_TIMEOUT": 2,
        "EXTENSION_DELIVERY_ALLOW_NETWORKS": "127.0.0.0/8",
        "EXTENSION_STALLED_AFTER": 2,
        "LEDGER": directory / "ledger",
    }


@pytest.fixture
def tables():
    return [TABLES]


@pytest.fixture
def environment(database_url, tmp_path):
    return environment_of(database_url, tmp_path)


class Shared(NamedTuple):
    server: Served
    ledger: Path
    smtp: socket.socket


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared(request, tmp_path_factory):
    """A server with its worker for the tests that leave it as it is; each has a tenant of its own."""
    directory = tmp_path_factory.mktemp("shared")
    with store_of(request, directory, [TABLES]) as url, socket.create_server(("127.0.0.1", 0)) as smtp:
        environment = {
            **environment_of(url, directory),
            "EXTENSION_TAPIS_RECOVERY_SCHEDULE": "0.3x20,1x50",
            "EXTENSION_SMTP_HOST": "127.0.0.1",
            "EXTENSION_SMTP_PORT": smtp.getsockname()[1],
            "EXTENSION_SMTP_SECURITY": "none",
            "EXTENSION_SMTP_SENDER": "Tapis <tapis@example.com>",
        }
        with run_server([KIT, "serve", TAPIS, FOLLOWS], directory / "log", **environment) as server:
            wait_until(lambda: server.process.poll() is None and server.health("readiness") == 200)
            yield Shared(server, environment["LEDGER"], smtp)


@pytest.fixture(scope="module")
def tapipy():
    process = Tapipy()
    yield process
    process.close()


@pytest.fixture
def tenant():
    """One that no other test has."""
    return f"tenant{next(_numbers)}"


@pytest.fixture
def client_of(tapipy, tenant):
    """Make Tapis's own client for a server: that of the service Jobs, which acts for testuser1, or of a user."""

    def client_of(server, user=None):
        return tapipy.client(server.url, headers_of(user or "testuser1", tenant, service=None if user else "jobs"))

    return client_of


def run_kit(environment, *arguments):
    done = extension_kit(*arguments, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def serve(environment, tmp_path):
    """Serve the extension: ``serve("--no-worker", EXTENSION_...=1)``, ready to be called."""
    numbers = itertools.count()
    with ExitStack() as stack:

        def serve(*arguments, **more):
            log = tmp_path / f"server-{next(numbers)}.log"
            command = [KIT, "serve", TAPIS, *arguments]
            server = stack.enter_context(run_server(command, log, **{**environment, **more}))
            wait_until(lambda: server.process.poll() is None and server.health("readiness") == 200)
            return server

        yield serve


@pytest.fixture
def work(environment, tmp_path):
    """Start a worker of its own, until the end of the block."""
    numbers = itertools.count()

    @contextmanager
    def work(**more):
        log = tmp_path / f"worker-{next(numbers)}.log"
        with run_server([KIT, "worker", TAPIS], log, **{**environment, **more}) as worker:
            yield worker

    return work


def subscribe(client, url, **more):
    wanted = {"typeFilter": "jobs.new_status.*", "subjectFilter": "*"}
    target = {"deliveryMethod": "WEBHOOK", "deliveryAddress": url}
    made = client.postSubscription(**{**wanted, "deliveryTargets": [target], **more})
    return made.url.rpartition("/")[2]


def publish(client, text="", subject="run-1", **more):
    event = {"source": "https://tapis.io/jobs", "type": "jobs.new_status.running", "timestamp": "now"}
    return client.publishEvent(**{**event, "subject": subject, "seriesId": subject, "data": str(text), **more})


class Hook:
    """A webhook that writes down what it gets, and sees whether notifications of one series overlap.

    ``answer`` is given how often this notification has come, from 1, and its event.
    """

    def __init__(self, receiver, answer=lambda number, event: reply(), pause=0.0):
        self.taken = []
        self.times = Counter()
        self.overlaps = 0
        self._answer = answer
        self._pause = pause
        self._busy = Counter()
        self._lock = threading.Lock()
        self.receiver = receiver(answer=self._take)
        self.url = self.receiver.url("/hook", "127.0.0.1")

    def _take(self, request):
        notification = json.loads(request.body)
        event = notification["event"]
        with self._lock:
            self.times[notification["uuid"]] += 1
            number = self.times[notification["uuid"]]
            self._busy[event["seriesId"]] += 1
            self.overlaps += self._busy[event["seriesId"]] > 1
        time.sleep(self._pause)
        answer = self._answer(number, event)
        with self._lock:
            self._busy[event["seriesId"]] -= 1
            if isinstance(answer, bytes) and answer.startswith(b"HTTP/1.1 2"):
                self.taken.append(notification)
        return answer

    @property
    def counts(self):
        """The counts of the events in the order in which they were taken, the second time they came left out."""
        first = {each["uuid"]: each["event"]["seriesSeqCount"] for each in self.taken}
        return list(first.values())

    def counts_of(self, subject):
        first = {each["uuid"]: each["event"] for each in self.taken if each["event"]["subject"] == subject}
        return [event["seriesSeqCount"] for event in first.values()]


def from_publishers(client_of, server, number, each):
    """Publish from clients at once."""
    failures = []

    def send(publisher):
        client = client_of(server)
        try:
            for place in range(each):
                publish(client, f"{publisher}.{place}")
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=send, args=(publisher,)) for publisher in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []


class TestOrder:
    def test_four_publishers_at_once(self, client_of, shared, receiver):
        """In order, never overlapping, exactly once; and from 1 again after the end of the series."""
        client = client_of(shared.server)
        hook = Hook(receiver, pause=0.005)
        subscribe(client, hook.url)
        from_publishers(client_of, shared.server, 4, 5)
        wait_until(lambda: len(hook.taken) == 20)
        assert hook.counts == list(range(1, 21))
        assert set(hook.times.values()) == {1}
        texts = [each["event"]["data"] for each in hook.taken]
        for publisher in range(4):
            own = [text for text in texts if text.startswith(f"{publisher}.")]
            assert own == [f"{publisher}.{place}" for place in range(5)]
        assert client.endEventSeries(source="https://tapis.io/jobs", subject="run-1", seriesId="run-1").changes == 1
        publish(client, endSeries=True)
        publish(client)
        wait_until(lambda: len(hook.taken) == 22)
        assert hook.counts[20:] == [1, 1]
        assert hook.overlaps == 0

    def test_two_workers_and_two_web_processes(self, client_of, serve, work, receiver, environment):
        is_sqlite = environment["EXTENSION_DATABASE_URL"].startswith("sqlite")
        server = serve("--no-worker", EXTENSION_WEB_WORKERS=1 if is_sqlite else 2)
        hook = Hook(receiver, pause=0.005)
        subscribe(client_of(server), hook.url)
        with work(), work():
            from_publishers(client_of, server, 4, 5)
            wait_until(lambda: len(hook.taken) == 20)
        assert (hook.counts, hook.overlaps) == (list(range(1, 21)), 0)

    def test_through_failures(self, client_of, shared, receiver):
        """Every notification fails at first; series do not wait for each other."""
        client = client_of(shared.server)
        hook = Hook(receiver, lambda number, event: reply(500 if number == 1 else 204))
        subscribe(client, hook.url)
        for place in range(6):
            for run in range(3):
                publish(client, place, f"run-{run}")
        wait_until(lambda: len(hook.taken) == 18)
        for run in range(3):
            assert hook.counts_of(f"run-{run}") == [1, 2, 3, 4, 5, 6]
        assert set(hook.times.values()) == {2}
        assert hook.overlaps == 0

    def test_a_series_that_fails_holds_up_only_itself(self, client_of, shared, receiver):
        """Until the slow attempts succeed, newer notifications of the other series pass."""
        client = client_of(shared.server)
        works = threading.Event()

        def answer(number, event):
            return reply(503 if event["subject"] == "bad" and not works.is_set() else 200)

        hook = Hook(receiver, answer)
        subscribe(client, hook.url)
        for place in range(3):
            publish(client, place, "bad")
        for place in range(5):
            publish(client, place, "good")
        wait_until(lambda: hook.counts_of("good") == [1, 2, 3, 4, 5])
        wait_until(lambda: max(hook.times.values()) > 3)  # more than the quick attempts
        assert hook.counts_of("bad") == []
        works.set()
        wait_until(lambda: hook.counts_of("bad") == [1, 2, 3])


class TestReceivers:
    def test_those_that_are_ill_delay_no_other(self, client_of, shared, receiver):
        client = client_of(shared.server)
        well = threading.Event()

        def sick(answer):
            return Hook(receiver, lambda number, event: reply() if well.is_set() else answer())

        def refuse_slowly():
            time.sleep(0.5)
            return reply(500)

        hangs, dies, slow = sick(lambda: silence), sick(lambda: lambda connection: None), sick(refuse_slowly)
        gone = Hook(receiver)
        gone.receiver.server.close()
        hook = Hook(receiver)
        for each in (hangs, dies, slow, gone, hook):
            subscribe(client, each.url)
        for place in range(20):
            publish(client, place, f"run-{place % 4}")
        wait_until(lambda: len(hook.taken) == 20)
        assert hangs.taken == dies.taken == slow.taken == []
        for run in range(4):
            assert hook.counts_of(f"run-{run}") == [1, 2, 3, 4, 5]
        well.set()
        for each in (hangs, dies, slow):
            wait_until(lambda each=each: len(each.taken) >= 20, timeout=60)
            for run in range(4):
                assert each.counts_of(f"run-{run}") == [1, 2, 3, 4, 5]

    def test_what_is_sent(self, client_of, shared, receiver, tenant):
        client = client_of(shared.server)
        hook = Hook(receiver, lambda number, event: reply(302 if number == 1 else 299, Location="/other"))
        name = subscribe(client, hook.url)
        answer = publish(client, '{"newJobStatus": "RUNNING"}', endSeries=False)
        assert (answer["status"], answer["result"]) == ("success", None)
        wait_until(lambda: len(hook.taken) == 1)
        first, second = hook.receiver.requests  # the redirect was not followed
        assert (first.method, first.path, first.body) == ("POST", "/hook", second.body)
        assert first.headers["user-agent"] == "Tapis/v3"
        assert first.headers["content-type"] == "application/json; charset=utf-8"
        assert not {"authorization", "webhook-signature"} & first.headers.keys()
        assert not [header for header in first.headers if header.startswith("x-tapis")]
        (notification,) = hook.taken
        assert notification["subscriptionName"] == name
        assert notification["event"]["data"] == '{"newJobStatus": "RUNNING"}'
        assert (notification["tenant"], notification["event"]["user"]) == (tenant, "testuser1")

    def test_webhooks_and_mailboxes(self, client_of, shared, receiver, smtp, mailbox):
        smtp(sock=shared.smtp)
        client = client_of(shared.server)
        hook = Hook(receiver)
        targets = [
            {"deliveryMethod": "WEBHOOK", "deliveryAddress": hook.url},
            {"deliveryMethod": "EMAIL", "deliveryAddress": "anna@example.org"},
        ]
        subscribe(client, hook.url, deliveryTargets=targets)
        publish(client)
        mail = mailbox.mail()
        assert mail["To"] == "anna@example.org"
        assert mail["Subject"].strip() == "Tapis v3 notification. Event type: jobs.new_status.running subject: run-1"
        mailed = json.loads(mail.get_content())
        wait_until(lambda: len(hook.taken) == 1)
        (posted,) = hook.taken
        assert (mailed["event"], mailed["deliveryTarget"]) == (posted["event"], targets[1])
        assert mailed["uuid"] != posted["uuid"]

    @pytest.fixture
    def mailbox(self):
        return Mailbox()

    def test_dead_letters_are_listed_and_replayed(self, client_of, serve, receiver, environment):
        server = serve(EXTENSION_TAPIS_RETRY_SCHEDULE="0.05", EXTENSION_TAPIS_RECOVERY_SCHEDULE="0.05x2")
        client = client_of(server)
        works = threading.Event()
        hook = Hook(receiver, lambda number, event: reply(200 if works.is_set() else 410))
        subscribe(client, hook.url)
        publish(client)
        wait_until(lambda: "is dead after attempt 4" in server.log)
        assert "jobs.new_status.running" in run_kit(environment, "deliveries", "list", "--status", "dead")
        works.set()
        run_kit(environment, "deliveries", "replay", "--all")
        wait_until(lambda: len(hook.taken) == 1)
        assert list(hook.times.values()) == [5]


class TestDying:
    def test_killed_workers_and_web_processes_lose_nothing(self, client_of, serve, receiver):
        """``kill -9`` in the middle, again and again: what was answered 200 arrives, and each series in order."""
        server = serve()
        random.seed(5)
        hook = Hook(receiver, pause=0.002)
        subscribe(client_of(server), hook.url)
        accepted: set[str] = set()
        stop = threading.Event()

        def send(publisher):
            client = client_of(server)
            place = 0
            while not stop.is_set():
                text = f"{publisher}.{place}"
                with suppress(CallError):  # whoever was to answer has been killed
                    publish(client, text, f"run-{publisher % 2}")
                    accepted.add(text)
                place += 1

        senders = [threading.Thread(target=send, args=(publisher,)) for publisher in range(4)]
        for sender in senders:
            sender.start()
        for number in range(4):
            before = len(accepted)
            wait_until(lambda before=before: len(accepted) > before + random.randrange(1, 15), timeout=60)
            for pid in server.children("worker" if number % 2 else "serve"):
                os.kill(pid, signal.SIGKILL)
            wait_until(lambda: server.health("readiness") == 200)
        stop.set()
        for sender in senders:
            sender.join(60)
        wait_until(lambda: accepted <= {each["event"]["data"] for each in hook.taken}, timeout=90)
        for run in range(2):
            counts = hook.counts_of(f"run-{run}")
            assert counts == list(range(1, len(counts) + 1))
        # A worker is killed twice, and what it had made since its last transaction is made again.
        assert max(hook.times.values()) <= 1 + 2

    def test_a_restart_goes_on_and_takes_over_from_a_worker_that_was_killed_in_an_attempt(
        self, client_of, serve, work, receiver
    ):
        server = serve("--no-worker")
        client = client_of(server)
        hook = Hook(receiver, lambda number, event: silence if number == 1 and event["data"] == "1" else reply())
        subscribe(client, hook.url)
        for place in range(4):
            publish(client, place)
        with work(EXTENSION_TAPIS_DELIVERY_TIMEOUT=60) as worker:
            wait_until(lambda: len(hook.times) == 2)
            os.killpg(worker.process.pid, signal.SIGKILL)
            worker.process.wait(10)
        server.stop()
        server = serve()
        publish(client_of(server), 4)
        wait_until(lambda: hook.counts == [1, 2, 3, 4, 5], timeout=60)
        assert sorted(hook.times.values()) == [1, 1, 1, 1, 2]


class TestEnding:
    def test_subscriptions_end_when_all_is_delivered(self, client_of, shared, receiver):
        client = client_of(shared.server)
        works = threading.Event()
        hook = Hook(receiver, lambda number, event: reply(200 if works.is_set() else 503))
        name = subscribe(client, hook.url, subjectFilter="run-1")
        publish(client)
        publish(client, deleteSubscriptionsMatchingSubject=True)
        publish(client)
        wait_until(lambda: sum(hook.times.values()) > 3)
        assert client.getSubscriptionByName(name=name).name == name
        works.set()

        def is_gone():
            try:
                client.getSubscriptionByName(name=name)
            except CallError as error:
                return error.name == "NotFoundError"
            return False

        wait_until(is_gone, timeout=60)
        assert hook.counts == [1, 2]


class TestTogether:
    def test_events_reach_functions_and_subscriptions_any_event(self, client_of, shared, receiver, event, tenant):
        client = client_of(shared.server)
        hook = Hook(receiver)
        subscribe(client, hook.url, typeFilter="experiment.execution.failed")
        publish(client, "text")
        publish(client, "text", type="jobs.other.running")

        def followed():
            lines = shared.ledger.read_text().splitlines() if shared.ledger.exists() else []
            return [line for line in lines if f" {tenant} " in line]

        wait_until(followed)
        body = event("experiment.execution.failed")
        assert shared.server.post("/events/ignore", body).status == 200
        wait_until(lambda: len(hook.taken) == 1)
        assert followed() == [f"jobs.new_status.running run-1 text {tenant} 1"]
        sent = hook.taken[0]["event"]
        assert (sent["source"], sent["type"], sent["tenant"]) == ("steadybit", "experiment.execution.failed", tenant)
        assert json.loads(sent["data"]) == body
        listened = [
            name for each in shared.server.request("GET", "/").json["eventListeners"] for name in each["listenTo"]
        ]
        assert "experiment.execution.failed" in listened
        assert not [name for name in listened if name.startswith("jobs")]

    def test_a_test_sequence(self, client_of, shared):
        client = client_of(shared.server)
        name = client.beginTestSequence(numberOfEvents=2).name

        def has_all():
            return client.getTestSequence(name=name).notificationCount == 2

        wait_until(has_all)
        found = client.getTestSequence(name=name)
        types = [each.event.type for each in found.receivedNotifications]
        assert types == ["notifications.test.begin", "notifications.test.number002"]
        assert client.deleteTestSequence(name=name).changes == 1

    def test_every_operation_of_the_client(self, client_of, shared, receiver, tenant):
        client = client_of(shared.server)
        user = client_of(shared.server, "testuser1")
        hook = Hook(receiver)
        target = {"deliveryMethod": "WEBHOOK", "deliveryAddress": hook.url}
        assert client.healthCheck().startswith("Health check received.")
        assert client.readyCheck()
        name = subscribe(client, hook.url, subjectFilter="a/b", ttlMinutes=5)
        found = user.getSubscriptionByName(name=name)
        assert (found.owner, found.enabled, found.deliveryTargets[0].deliveryAddress) == ("testuser1", True, hook.url)
        assert user.getSubscriptionByUuid(uuid=found.uuid).name == name
        assert [each.name for each in user.getSubscriptions(limit=-1)] == [name]
        assert [each.name for each in user.getSubscriptions(search="name.like.jobs*", anyOwner=False)] == [name]
        query = {"enabled.eq": "true", "subject_filter.like": "a*"}
        assert len(user.searchSubscriptionsQueryParameters(_tapis_query_parameters=query)) == 1
        assert user.searchSubscriptionsRequestBody(search=["owner = 'somebody'", "OR enabled = 'false'"]) == []
        assert user.isEnabled(name=name).aBool is True
        assert user.disableSubscription(name=name).changes == 1
        assert user.getSubscriptionByName(name=name, select="enabled").enabled is False
        assert user.enableSubscription(name=name).changes == 1
        assert user.updateTTL(name=name, ttlMinutes="0").changes == 1
        assert user.getSubscriptionByName(name=name).expiry is None
        assert user.patchSubscriptionByName(name=name, description="new", ttlMinutes=7).url.endswith(name)
        found = user.getSubscriptionByName(name=name)
        assert (found.description, found.ttlMinutes) == ("new", 0)
        assert client.postEvent(source="s", type="jobs.a.b", timestamp="t")["result"] is None
        assert client.publishEvent(source="s", type="jobs.a.b", timestamp="t", tenant=tenant)["status"] == "success"
        assert client.endEventSeries(source="s", subject="a", seriesId="b", tenant=tenant).changes == 0
        test = client.beginTestSequence()
        sent = {
            "uuid": "u",
            "tenant": tenant,
            "subscriptionName": test.name,
            "eventUuid": "e",
            "created": "now",
            "deliveryTarget": target,
            "event": {"source": "s", "type": "a.b.c", "timestamp": "t"},
        }
        client.recordTestNotification(name=test.name, **sent)
        # The worker records those of the sequence itself.
        assert "u" in [each.uuid for each in client.getTestSequence(name=test.name).receivedNotifications]
        assert client.deleteTestSequence(name=test.name).changes == 1
        assert client.deleteSubscriptionsBySubject(subject="a/b", anyOwner=True).changes == 1
        assert client.deleteSubscriptionByName(name=name).changes == 0
        assert client.deleteSubscriptionByUuid(uuid=found.uuid).changes == 0
        for error, message, call in (
            ("NotFoundError", "NTFAPI_NOT_FOUND", lambda: user.getSubscriptionByName(name=name)),
            ("UnauthorizedError", "NTFAPI_SUBSCR_UNAUTH", lambda: subscribe(user, hook.url)),
            ("BadRequestError", "NTFAPI_INVALID_JSON", lambda: publish(client, type="jobs")),
        ):
            with pytest.raises(CallError) as caught:
                call()
            assert caught.value.name == error
            assert str(caught.value).startswith(message)
