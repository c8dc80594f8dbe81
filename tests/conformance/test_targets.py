"""Events that are delivered to subscriptions: to real receivers, by real processes, on both stores."""

import json
import os
import signal
import socket
import statistics
import threading
import time
import uuid
from base64 import b64encode
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import NamedTuple

import pytest
from sqlalchemy import select, update
from standardwebhooks import Webhook

from extension_kit.deliveries import subscriptions
from extension_kit.deliveries.sender_pool import Senders
from extension_kit.deliveries.tables import CLAIMED, attempts, deliveries
from extension_kit.events.event import Event
from extension_kit.settings.kit import Settings
from extension_kit.store.database import Database
from tests.support.broker import URL as AMQP_URL
from tests.support.broker import Exchange, rabbitmq
from tests.support.commands import extension_kit
from tests.support.durable import prepared, store_of
from tests.support.filing import filed
from tests.support.ledgers import run_event
from tests.support.mailbox import Mailbox, smtp
from tests.support.paths import KIT
from tests.support.receivers import TIMEOUT, receiver, reply, silence
from tests.support.servers import Served, free_port, ready, run_server
from tests.support.waiting import wait_until

__all__ = ["receiver", "smtp"]  # fixtures
SECRET = "whsec_" + b64encode(b"k" * 32).decode()
LOOPBACK = "127.0.0.0/8"
SOON = [0.05] * 20


def environment_of(database_url, ledger):
    return {
        **prepared(database_url, ledger),
        "EXTENSION_DELIVERY_ALLOW_NETWORKS": LOOPBACK,
        "EXTENSION_DELIVERY_TIMEOUT": TIMEOUT,
    }


class Forwards(NamedTuple):
    """A server of the extension that takes every event, its database, and where it sends its mails."""

    server: Served
    database: Database
    environment: dict[str, object]
    smtp: socket.socket | None = None


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared(request, tmp_path_factory):
    """A server with its worker, for the tests that leave it as it is; their subscriptions are removed after each."""
    directory = tmp_path_factory.mktemp("shared")
    with store_of(request, directory, ()) as url, socket.create_server(("127.0.0.1", 0)) as smtp:
        environment = {
            **environment_of(url, directory / "ledger"),
            "EXTENSION_SMTP_HOST": "127.0.0.1",
            "EXTENSION_SMTP_PORT": smtp.getsockname()[1],
            "EXTENSION_SMTP_SECURITY": "none",
            "EXTENSION_SMTP_SENDER": "Kit <kit@example.com>",
        }
        with (
            run_server([KIT, "serve", "forwards.py"], directory / "log", **environment) as server,
            closing_database(url) as database,
        ):
            yield Forwards(ready(server), database, environment, smtp)


@contextmanager
def closing_database(url):
    database = Database(url)
    try:
        yield database
    finally:
        database.dispose()


@pytest.fixture
def environment(database_url, ledger):
    return environment_of(database_url, ledger)


@pytest.fixture
def without_worker(database_url, environment, tmp_path):
    """A server of a test's own; the test starts the workers."""
    command = [KIT, "serve", "forwards.py", "--no-worker"]
    with (
        run_server(command, tmp_path / "log", **environment) as server,
        closing_database(database_url) as database,
    ):
        yield Forwards(ready(server), database, environment)


@pytest.fixture
def subscribe():
    """Make a subscription in the database of a server, until the end of the test."""
    senders = Senders(Settings(smtp_host="any", smtp_sender="any@example.com"))
    made = []

    def subscribe(served, target, *, sender="http", patterns=("*",), **more):
        with served.database.transaction() as connection:
            own = {"protocol": "test", "name": uuid.uuid4().hex, "patterns": patterns, "sender": sender}
            subscription = subscriptions.add(connection, senders, **own, target=target, **more)
        made.append((served.database, subscription.ref))
        return subscription

    yield subscribe
    for database, ref in made:
        with database.transaction() as connection:
            subscriptions.remove(connection, ref)
    senders.close()


@pytest.fixture
def mailbox():
    return Mailbox()


class Hook:
    """What a receiver got, and how it answers: by ``status`` the n-th request with the same id, from 1."""

    def __init__(self, receiver, status=lambda number: 200, **headers):
        self._seen = Counter()
        self.at = defaultdict(list)
        self.taken = []
        self._status = status
        self._headers = headers
        self.receiver = receiver(answer=self._answer)
        self.url = self.receiver.url("/hook", "127.0.0.1")

    def _answer(self, request):
        message_id, event_id = request.headers["webhook-id"], json.loads(request.body)["id"]
        self._seen[message_id] += 1
        self.at[event_id].append(time.monotonic())
        if (status := self._status(self._seen[message_id])) == 200:
            self.taken.append(event_id)
        return reply(status, b"said so", **self._headers)

    @property
    def ids(self):
        """How often each message came, by its id."""
        return Counter(request.headers["webhook-id"] for request in self.receiver.requests)


def made(database, key):
    """The deliveries of a listener."""
    query = select(deliveries).where(deliveries.c.listener == key).order_by(deliveries.c.ref)
    with database.read() as connection:
        return connection.execute(query).all()


def discard(database, keys):
    """Throw away what waits for some listeners."""
    with database.transaction() as connection:
        connection.execute(update(deliveries).where(deliveries.c.listener.in_(keys)).values(status="discarded"))


def tried(database, ref):
    """The attempts of a delivery."""
    with database.read() as connection:
        return connection.execute(select(attempts).where(attempts.c.delivery_ref == ref).order_by("number")).all()


def in_order(event_ids, keys, number):
    """Whether the events of each series came in order, the second time they came left out."""
    first = list(dict.fromkeys(event_ids))
    return all(
        [event_id for event_id in first if event_id.startswith(f"{key}-")] == [f"{key}-{n}" for n in range(number)]
        for key in range(keys)
    )


class TestDelivering:
    def test_in_order_per_series_signed_and_with_the_same_id_in_every_attempt(self, shared, subscribe, receiver, event):
        server, database, *_ = shared
        hook = Hook(receiver, lambda number: 503 if number == 1 else 200)
        key = subscribe(
            shared, {"url": hook.url, "secret": SECRET}, patterns=["experiment.execution.*"], retry=SOON
        ).key
        for number in range(6):
            for series in range(3):
                assert server.post("/events", run_event(event, series, number)).status == 200
        assert server.post("/events", event("killswitch.engaged", id="unwanted")).status == 200
        wait_until(lambda: [row.status for row in made(database, key)] == ["delivered"] * 18)
        assert in_order(hook.taken, 3, 6)
        assert len(hook.taken) == len(hook.ids) == 18
        assert set(hook.ids.values()) == {2}
        for request in hook.receiver.requests:
            Webhook(SECRET).verify(request.body, request.headers)
        first = [(row.result, row.status, row.excerpt) for row in tried(database, made(database, key)[0].ref)]
        assert first == [("failed", 503, "said so"), ("delivered", 200, "said so")]

    def test_in_order_across_the_patterns_of_one_subscription(self, shared, subscribe, receiver, event):
        """Publishers at the same time, each with runs of its own, and a receiver that fails now and then."""
        server, database, *_ = shared
        names = [f"experiment.execution.{part}" for part in ("requested", "created", "completed")]
        hook = Hook(receiver, lambda number: 503 if number == 1 else 200)
        runs = range(70, 78)  # of which no other test has sent events to this server
        patterns = [names[0], names[1], "*.*.completed"]
        key = subscribe(shared, {"url": hook.url}, patterns=patterns, retry=SOON).key

        def publish(series):
            for place, name in enumerate(names):
                assert server.post("/events", run_event(event, series, place, name)).status == 200

        with ThreadPoolExecutor(4) as publishers:
            list(publishers.map(publish, runs))
        wait_until(lambda: Counter(row.status for row in made(database, key)) == {"delivered": 24})
        first = list(dict.fromkeys(hook.taken))
        assert {run: [each for each in first if each.startswith(f"{run}-")] for run in runs} == {
            run: [f"{run}-{place}" for place in range(3)] for run in runs
        }
        assert set(hook.ids.values()) == {2}
        # None is even tried before the one before it has arrived, which took two attempts.
        for run in runs:
            for place in range(2):
                assert hook.at[f"{run}-{place}"][-1] < hook.at[f"{run}-{place + 1}"][0]

    def test_only_to_who_wants_it(self, shared, subscribe, receiver, event):
        server, database, *_ = shared
        hook, other = Hook(receiver), Hook(receiver)
        body = event("experiment.execution.created", id="wanted")
        key = subscribe(shared, {"url": hook.url}, subject=Event.from_body(body).subject).key
        long_ago = datetime(2020, 1, 1, tzinfo=UTC)
        wishes = ({"subject": "other"}, {"enabled": False}, {"expires_at": long_ago}, {"patterns": ["*.created"]})
        unwanted = [subscribe(shared, {"url": other.url}, **wish).key for wish in wishes]
        assert server.post("/events", body).status == 200
        wait_until(lambda: hook.taken == ["wanted"])
        assert len(made(database, key)) == 1
        assert [row for key in unwanted for row in made(database, key)] == []
        assert other.receiver.requests == []

    def test_mailboxes(self, shared, subscribe, smtp, mailbox, event):
        smtp(sock=shared.smtp)
        subscribe(shared, {"to": ["anna@example.org"]}, sender="email")
        assert shared.server.post("/events", event("killswitch.engaged", id="mailed")).status == 200
        mail = mailbox.mail()
        assert (mail["From"], mail["Subject"]) == ("Kit <kit@example.com>", "killswitch.engaged")
        assert json.loads(mail.get_content())["id"] == "mailed"

    @rabbitmq
    def test_exchanges(self, shared, subscribe, event):
        server, database, *_ = shared
        exchange = Exchange(hostname=AMQP_URL)
        key = subscribe(shared, {"url": AMQP_URL, "exchange": exchange.name, "routing_key": "a.b"}, sender="amqp").key
        assert server.post("/events", event("killswitch.engaged", id="exchanged")).status == 200
        wait_until(lambda: [row.status for row in made(database, key)] == ["delivered"])
        assert json.loads(exchange.get().body)["id"] == "exchanged"
        exchange.close()


class TestRetrying:
    def test_retry_after_is_honoured(self, shared, subscribe, receiver, event):
        server, database, *_ = shared
        hook = Hook(receiver, lambda number: 429 if number == 1 else 200, Retry_After=1)
        key = subscribe(shared, {"url": hook.url}, retry=[0.01]).key
        assert server.post("/events", event("killswitch.engaged", id="later")).status == 200
        wait_until(lambda: hook.taken == ["later"])
        first, second = hook.at["later"]
        assert second - first >= 1
        assert len(made(database, key)) == 1

    def test_what_is_refused_for_good_is_a_dead_letter_at_once_and_can_be_replayed(
        self, shared, subscribe, receiver, event
    ):
        server, database, environment, _ = shared
        hook = Hook(receiver, lambda number: 410 if number == 1 else 200)
        key = subscribe(shared, {"url": hook.url}).key
        assert server.post("/events", event("killswitch.engaged", id="refused")).status == 200
        wait_until(lambda: [row.status for row in made(database, key)] == ["dead"])
        (dead,) = made(database, key)
        assert (dead.attempts, dead.error) == (1, "answered 410")
        replayed = extension_kit("deliveries", "replay", "--listener", key, **environment)
        assert replayed.returncode == 0, replayed.stderr
        wait_until(lambda: [row.status for row in made(database, key)] == ["delivered"])
        assert list(hook.ids.values()) == [2]

    def test_what_waits_for_a_subscription_that_was_removed_is_discarded(
        self, without_worker, work, subscribe, receiver, event
    ):
        server, database, *_ = without_worker
        hook = Hook(receiver)
        gone, there = (subscribe(without_worker, {"url": hook.url}) for _ in range(2))
        assert server.post("/events", event("killswitch.engaged", id="a")).status == 200
        assert filed(database) == 1
        with database.transaction() as connection:
            assert subscriptions.remove(connection, gone.ref)
        with work(app="forwards.py"):
            wait_until(lambda: [row.status for row in made(database, there.key)] == ["delivered"])
            wait_until(lambda: [row.status for row in made(database, gone.key)] == ["discarded"])
        assert hook.taken == ["a"]

    def test_while_the_target_rests_deliveries_become_dead_letters_within_their_schedule(
        self, shared, subscribe, event
    ):
        server, database, *_ = shared
        key = subscribe(shared, {"url": f"http://127.0.0.1:{free_port()}"}, retry=[0.5, 0.5]).key
        for number in range(30):
            assert server.post("/events", event("killswitch.engaged", id=f"resting-{number}")).status == 200
        wait_until(lambda: [row.status for row in made(database, key)] == ["dead"] * 30, timeout=120)
        assert any(row.error.startswith("the target rests") for row in made(database, key))


class TestKilling:
    def test_a_killed_worker_loses_nothing(self, without_worker, work, subscribe, receiver, event):
        """5 series x 10 events, every first attempt fails, kill -9 while attempts are under way."""
        server, database, *_ = without_worker
        held, killed = threading.Event(), threading.Event()

        def status(number):
            if len(hook.taken) > 15:
                held.set()
                killed.wait(TIMEOUT)
            return 503 if number == 1 else 200

        hook = Hook(receiver, status)
        key = subscribe(without_worker, {"url": hook.url}, retry=SOON).key
        for number in range(10):
            for series in range(5):
                assert server.post("/events", run_event(event, series, number)).status == 200
        with work(app="forwards.py") as first:
            assert held.wait(TIMEOUT)
            os.killpg(first.process.pid, signal.SIGKILL)
            first.process.wait(10)
            killed.set()
        with work(app="forwards.py"):
            wait_until(lambda: [row.status for row in made(database, key)] == ["delivered"] * 50, timeout=60)
        assert in_order(hook.taken, 5, 10)
        assert len(set(hook.taken)) == len(hook.ids) == 50
        lost = [
            row for delivery in made(database, key) for row in tried(database, delivery.ref) if row.result == "lost"
        ]
        assert 1 <= len(lost) <= 5
        # Once more only what was under way, of which there is no more than one of each series.
        assert len(hook.taken) - 50 <= 5


class TestNeighbours:
    def test_dead_and_hanging_targets_do_not_delay_healthy_ones(self, shared, subscribe, receiver, event):
        server, database, *_ = shared
        healthy = Hook(receiver)
        hanging = receiver(answer=lambda request: silence)
        subscribe(shared, {"url": healthy.url})
        self.latency(server, healthy, event)
        before = self.latency(server, healthy, event)
        dead = subscribe(shared, {"url": f"http://127.0.0.1:{free_port()}"}, retry=[*SOON, 600]).key
        hung = subscribe(shared, {"url": hanging.url(host="127.0.0.1"), "timeout": 1.0}, retry=[*SOON, 600]).key
        meanwhile = [self.latency(server, healthy, event) for _ in range(2)]
        wait_until(lambda: len(hanging.requests) >= 5)
        meanwhile.append(self.latency(server, healthy, event))
        assert max(meanwhile) < 5 * before
        for key in (dead, hung):
            rows = made(database, key)
            assert {row.status for row in rows} == {"waiting"}
            assert len(rows) == 60
            # At rest, so that most were never tried.
            assert sum(row.attempts == 0 for row in rows) > 20

    @pytest.mark.parametrize("scope", ["", "other"], ids=["of the same tenant", "of another"])
    def test_hundreds_of_hosts_that_never_answer_do_not_delay_healthy_ones(
        self, shared, subscribe, receiver, event, scope
    ):
        server, database, *_ = shared
        healthy = Hook(receiver)
        subscribe(shared, {"url": healthy.url}, scope="mine" if scope else "")
        self.latency(server, healthy, event)
        with socket.create_server(("0.0.0.0", 0), backlog=1000) as silent:
            port = silent.getsockname()[1]
            hosts = [f"127.1.{number // 100}.{number % 100 + 1}" for number in range(200)]
            keys = [
                subscribe(shared, {"url": f"http://{host}:{port}", "timeout": 60}, scope=scope).key for host in hosts
            ]
            mine = deliveries.c.listener.in_(keys)
            ended = select(attempts).join(deliveries).where(mine)
            claimed = select(deliveries).where(mine, deliveries.c.stage == CLAIMED)

            def tried_without_end():
                with database.read() as connection:
                    assert not connection.execute(ended).all()  # so nobody has waited for an end
                    return len(connection.execute(claimed).all())

            self.latency(server, healthy, event, number=10)
            assert 1 <= tried_without_end() <= 8  # of 16 threads
            if scope:
                newcomer = Hook(receiver)
                subscribe(shared, {"url": newcomer.url}, scope="yet another")
                self.latency(server, newcomer, event, number=5)
                tried_without_end()
            discard(database, keys)

    def test_nor_after_a_restart(self, without_worker, work, subscribe, receiver, event):
        server, database, *_ = without_worker
        healthy = Hook(receiver)
        with socket.create_server(("0.0.0.0", 0), backlog=1000) as silent:
            url = f"http://127.1.0.{{}}:{silent.getsockname()[1]}"
            hung = [subscribe(without_worker, {"url": url.format(number)}, enabled=False) for number in range(1, 101)]
            subscribe(without_worker, {"url": healthy.url})  # behind the others, if its turn came by its name only
            with work(app="forwards.py"):
                self.latency(server, healthy, event, number=1)
            with database.transaction() as connection:
                connection.execute(update(subscriptions.subscriptions).values(enabled=True))
            body = event("killswitch.engaged", id=uuid.uuid4().hex)
            assert server.post("/events", body).status == 200
            with work(app="forwards.py", EXTENSION_GRACE_PERIOD=1):
                wait_until(lambda: healthy.at.get(body["id"]), timeout=TIMEOUT - 5)
            discard(database, [subscription.key for subscription in hung])

    def latency(self, server, hook, event, number=20):
        """The median of the seconds from an event to its arrival at a receiver."""
        waits = []
        for _ in range(number):
            body = event("killswitch.engaged", id=uuid.uuid4().hex)
            sent = time.monotonic()
            assert server.post("/events", body).status == 200
            arrived = wait_until(lambda body=body: hook.at.get(body["id"]))
            waits.append(arrived[0] - sent)
        return statistics.median(waits)
