"""Deliveries to subscriptions: what receivers get, and which targets rest."""

import socket
from base64 import b64encode
from contextlib import ExitStack
from datetime import UTC, datetime
from email import message_from_bytes, policy
from ipaddress import ip_network

import pytest
from kombu.utils.encoding import str_to_bytes
from sqlalchemy import insert, select
from standardwebhooks import Webhook

from extension_kit.deliveries import subscriptions
from extension_kit.deliveries.handler import Due
from extension_kit.deliveries.retry import DEFAULT_DELAYS
from extension_kit.deliveries.sender_pool import Senders
from extension_kit.deliveries.subscription_handlers import Circuits, DeliveryFormat, message_id, target_handlers
from extension_kit.deliveries.tables import WAITING, attempts, deliveries, events
from extension_kit.errors import GiveUp
from extension_kit.senders import Message, Outcome
from extension_kit.senders.amqp import AmqpSender
from extension_kit.senders.target_schema import MAX_TIMEOUT
from extension_kit.settings.kit import Settings
from tests.support.broker import Exchange
from tests.support.driving import make_attempt
from tests.support.mailbox import Mailbox, smtp
from tests.support.receivers import TIMEOUT, local_addresses, reply, silence
from tests.support.servers import free_port

__all__ = ["smtp"]  # a fixture
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SECRET = "whsec_" + b64encode(b"k" * 32).decode()
UNANSWERED, ANSWERED = 5, 20
"""How many failures in a row send a host to rest, and a target."""


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def mailbox():
    return Mailbox()


@pytest.fixture
def senders(smtp):
    settings = {"smtp_host": "127.0.0.1", "smtp_sender": "kit@example.com", "smtp_security": "none"}
    made = Senders(
        Settings(
            delivery_allow_networks=(ip_network("127.0.0.0/8"),),
            delivery_timeout=TIMEOUT,
            smtp_port=smtp(),
            **settings,
        )
    )
    yield made
    made.close()


@pytest.fixture
def find(sqlite, senders, clock):
    """Find the handler of a listener's key, as a worker does."""
    finder = target_handlers(senders, clock)

    def find(key):
        with sqlite.read() as connection:
            return finder(key, connection)

    return find


@pytest.fixture
def subscribe(sqlite, senders):
    names = iter(range(100))

    def subscribe(sender="http", retry=None, protocol="test", **target):
        with sqlite.transaction() as connection:
            return subscriptions.add(
                connection,
                senders,
                protocol=protocol,
                name=str(next(names)),
                patterns=["*"],
                sender=sender,
                target=target,
                retry=retry,
            )

    return subscribe


STEADYBIT = ("steadybit", None, None, None, None)  # source, time, subject, series, place


def due(ref=1, number=1, *, event_id="1", name="a.b", created_at=NOW):
    return Due(ref, number, 0, "subscription:1", created_at, name, event_id, b'{"name": "Z\xc3\xbcrich"}', *STEADYBIT)


class TestWhatIsSent:
    def test_a_webhook_is_signed_and_known_by_the_same_id_in_every_attempt(self, find, subscribe, receiver):
        there = receiver()
        key = subscribe(url=there.url("/hook", "127.0.0.1"), secret=SECRET).key
        for number in (1, 2):
            assert find(key).make(due(number=number)) == Outcome("delivered", status=200)
        first, second = there.requests
        assert first.body == due().body
        assert (first.method, first.path, first.headers["content-type"]) == ("POST", "/hook", "application/json")
        assert first.headers["webhook-id"] == second.headers["webhook-id"] == message_id(due())
        Webhook(SECRET).verify(second.body, second.headers)

    def test_no_two_deliveries_have_the_same_id(self):
        dues = [due(), due(ref=2), due(event_id="2"), due(created_at=NOW.replace(microsecond=1)), due(event_id="\x00ä")]
        assert len({message_id(one) for one in dues}) == len(dues)

    def test_an_e_mail_has_the_name_of_the_event_for_its_subject(self, find, subscribe, mailbox):
        key = subscribe("email", to=["anna@example.org"], subject_prefix="[prod]").key
        assert find(key).make(due()).result == "delivered"
        mail = message_from_bytes(mailbox.envelopes.get(timeout=TIMEOUT).content, policy=policy.default)
        assert mail["Subject"] == "[prod] a.b"
        assert mail["Message-ID"] == f"<{message_id(due())}@example.com>"
        assert mail.get_content().strip() == '{"name": "Zürich"}'

    def test_a_message_to_an_exchange(self, sqlite, subscribe):
        exchange = Exchange(hostname="", transport="memory")
        sender = AmqpSender(local_addresses(), transport="memory")
        subscription = subscribe("amqp", url="amqp://broker.test", exchange=exchange.name, routing_key="a.b")

        class InMemory:
            def get(self, name):
                return sender

        with sqlite.read() as connection:
            handler = target_handlers(InMemory())(subscription.key, connection)
        assert handler.make(due()) == Outcome("delivered")
        got = exchange.get()
        assert got.properties["message_id"] == message_id(due())
        assert str_to_bytes(got.body) == due().body
        sender.close()
        exchange.close()


class TestHandlers:
    def test_one_that_was_removed_is_not_found(self, sqlite, find, subscribe):
        subscription = subscribe(url="http://127.0.0.1")
        with sqlite.transaction() as connection:
            subscriptions.remove(connection, subscription.ref)
        assert find(subscription.key) is None
        assert find("oncall.page@/events/page") is None

    def test_the_retry_schedule_is_its_own_or_the_default(self, find, subscribe):
        assert find(subscribe(url="http://x.test").key).schedule.delays == DEFAULT_DELAYS
        assert find(subscribe(url="http://x.test", retry=[1, 2.5]).key).schedule.delays == (1.0, 2.5)

    def test_the_sender_ends_an_attempt_before_the_worker_does(self, find, subscribe):
        assert find(subscribe(url="http://x.test", timeout=MAX_TIMEOUT).key).timeout > MAX_TIMEOUT

    def test_a_new_target_counts_for_the_next_attempt(self, sqlite, senders, find, subscribe, receiver):
        there = receiver()
        subscription = subscribe(url=f"http://127.0.0.1:{free_port()}")
        assert find(subscription.key).make(due()).result == "failed"
        with sqlite.transaction() as connection:
            target = {"url": there.url(host="127.0.0.1")}
            subscriptions.change(connection, senders, subscription.ref, target=target)
        assert find(subscription.key).make(due()).result == "delivered"

    def test_a_sender_that_cannot_be_used_is_a_failure_that_says_why(self, sqlite, subscribe):
        key = subscribe("email", to=["anna@example.org"]).key
        without_server = Senders(Settings())
        with sqlite.read() as connection:
            handler = target_handlers(without_server)(key, connection)
        outcome = handler.make(due())
        assert (outcome.result, outcome.error.rpartition(" ")[2]) == ("failed", "EXTENSION_SMTP_HOST")


class TestDeliveryFormats:
    """Protocols have formats of their own; those of the others are not theirs."""

    @pytest.fixture
    def find_with(self, sqlite, senders):
        def find_with(form, subscription):
            with sqlite.read() as connection:
                return target_handlers(senders, formats={"echo": form})(subscription.key, connection)

        return find_with

    def test_the_message_says_what_is_sent(self, find_with, subscribe, receiver):
        there = receiver()

        def make_message(due, subscription):
            body = f"{subscription.name}: {due.event_name} {due.source} {due.series} {due.place} {due.number}".encode()
            return Message("id-7", body + due.body, content_type="text/plain")

        mine, others = (subscribe(url=there.url(host="127.0.0.1"), protocol=name) for name in ("echo", "other"))
        sent = due(number=3)._replace(source="echo", series="echo/a", place=4)
        for subscription in (mine, others):
            assert find_with(DeliveryFormat(make_message), subscription).make(sent).result == "delivered"
        own, plain = there.requests
        assert own.body == f"{mine.name}: a.b echo echo/a 4 3".encode() + due().body
        assert (own.headers["webhook-id"], own.headers["content-type"]) == ("id-7", "text/plain")
        assert (plain.body, plain.headers["webhook-id"]) == (due().body, message_id(due()))

    @pytest.mark.parametrize(
        ("protocol", "own", "expected"),
        [
            ("echo", None, (1.0, 2.0)),
            ("echo", [5], (5.0,)),
            ("echo", [], ()),
            ("other", None, DEFAULT_DELAYS),
            ("other", [5], (5.0,)),
        ],
    )
    def test_the_retry_schedule_is_its_own_or_the_protocols(self, find_with, subscribe, protocol, own, expected):
        form = DeliveryFormat(lambda due, subscription: Message("1", b""), retry=[1, 2])
        subscription = subscribe(url="http://x.test", protocol=protocol, retry=own)
        assert find_with(form, subscription).schedule.delays == expected

    def test_without_a_schedule_it_is_the_default(self, find_with, subscribe):
        form = DeliveryFormat(lambda due, subscription: Message("1", b""))
        assert find_with(form, subscribe(url="http://x.test", protocol="echo")).schedule.delays == DEFAULT_DELAYS

    def test_the_target_may_be_made_for_each_attempt(self, find_with, subscribe, receiver):
        there = receiver()

        def make_target(due, subscription):
            return {**subscription.target, "headers": {"X-Attempt": f"{due.number}"}}

        form = DeliveryFormat(lambda due, subscription: Message("1", b""), make_target=make_target)
        subscription = subscribe(url=there.url(host="127.0.0.1"), protocol="echo")
        for number in (1, 2):
            assert find_with(form, subscription).make(due(number=number)).result == "delivered"
        assert [request.headers["x-attempt"] for request in there.requests] == ["1", "2"]
        assert "headers" not in subscription.target

    @pytest.mark.parametrize("part", ["make_target", "make_message"])
    def test_a_format_may_give_up(self, find_with, subscribe, receiver, part):
        def give_up(due, subscription):
            raise GiveUp("no URL is configured")

        there = receiver()
        parts = {"make_message": lambda due, subscription: Message("1", b""), part: give_up}
        subscription = subscribe(url=there.url(host="127.0.0.1"), protocol="echo")
        outcome = find_with(DeliveryFormat(**parts), subscription).make(due())
        assert (outcome.result, outcome.error) == ("refused", "no URL is configured")
        assert there.requests == []

    def test_a_message_that_raises_is_a_failed_attempt(self, sqlite, senders, subscribe, receiver, caplog):
        def make_message(due, subscription):
            raise KeyError("no such template")

        there = receiver()
        key = subscribe(url=there.url("/s3cret", "127.0.0.1"), protocol="echo").key
        with sqlite.transaction() as connection:
            event = {"ref": 1, "source": "t", "event_id": "1", "name": "a", "body": b"{}", "received_at": NOW}
            connection.execute(insert(events).values(event))
            row = {"ref": 1, "event_ref": 1, "listener": key, "status": WAITING, "created_at": NOW, "due_at": NOW}
            connection.execute(insert(deliveries).values(row))
        formats = {"echo": DeliveryFormat(make_message, retry=[30])}
        assert make_attempt(sqlite, target_handlers(senders, formats=formats), 1).due_at is not None
        with sqlite.read() as connection:
            delivery = connection.execute(select(deliveries)).one()
        assert (delivery.status, delivery.attempts) == (WAITING, 1)
        assert "KeyError: 'no such template'" in delivery.error
        assert there.requests == []
        assert "s3cret" not in caplog.text


class TestProtocolsThatSendThemselves:
    """The sender ``protocol``: the event protocol makes the attempts."""

    @pytest.fixture
    def find_with(self, sqlite, senders):
        def find_with(subscription, **form):
            with sqlite.read() as connection:
                return target_handlers(senders, formats={"echo": DeliveryFormat(**form)})(subscription.key, connection)

        return find_with

    def test_it_gets_the_delivery_and_the_subscription_and_its_outcome_counts(self, find_with, subscribe):
        got, outcome = [], Outcome("failed", "answered 503", 503, retry_in=7.0, unreachable=True)

        def send(due, subscription):
            got.append((due, subscription))
            return outcome

        subscription = subscribe("protocol", protocol="echo")
        assert find_with(subscription, send=send).make(due(number=3)) == outcome
        assert got == [(due(number=3), subscription)]

    def test_neither_a_message_nor_a_target_is_made(self, find_with, subscribe):
        made = []
        form = {name: lambda due, subscription: made.append(due) for name in ("make_message", "make_target")}
        handler = find_with(subscribe("protocol", protocol="echo"), send=lambda *_: Outcome("delivered"), **form)
        assert handler.make(due()).result == "delivered"
        assert made == []

    def test_no_number_of_failures_stops_it(self, find_with, subscribe):
        failed = Outcome("failed", "no connection", unreachable=True)
        handler = find_with(subscribe("protocol", protocol="echo"), send=lambda *_: failed)
        for _ in range(UNANSWERED + ANSWERED):
            assert handler.circuit_wait() == 0
            assert handler.make(due()) == failed
        assert handler.circuit_wait() == 0

    def test_it_may_give_up(self, find_with, subscribe):
        def send(due, subscription):
            raise GiveUp("it is gone")

        outcome = find_with(subscribe("protocol", protocol="echo"), send=send).make(due())
        assert (outcome.result, outcome.error) == ("refused", "it is gone")

    @pytest.mark.parametrize(("own", "expected"), [(None, (1.0, 2.0)), ([5], (5.0,)), ([], ())])
    def test_the_retry_schedule_is_its_own_or_the_protocols(self, find_with, subscribe, own, expected):
        subscription = subscribe("protocol", protocol="echo", retry=own)
        handler = find_with(subscription, send=lambda *_: Outcome("delivered"), retry=[1, 2])
        assert handler.schedule.delays == expected

    def test_other_senders_of_the_protocol_are_as_before(self, find_with, subscribe, receiver):
        there, sent = receiver(), []
        subscription = subscribe(url=there.url(host="127.0.0.1"), protocol="echo")
        assert find_with(subscription, send=lambda *given: sent.append(given)).make(due()).status == 200
        assert (len(there.requests), sent) == (1, [])

    @pytest.mark.parametrize("protocol", ["echo", "other"])
    def test_where_nothing_sends_for_it_it_fails_and_says_why(self, find_with, subscribe, protocol):
        outcome = find_with(subscribe("protocol", protocol=protocol)).make(due())
        assert outcome == Outcome("failed", f"no extension that is loaded makes attempts for {protocol}")


def silent(connection):
    """Hang up without a word."""


@pytest.fixture
def unanswering():
    """The URL of a port at which nobody accepts connections, and more of them do not fit into its queue."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server, ExitStack() as waiting:
        for _ in range(4):
            connection = waiting.enter_context(socket.socket())
            connection.setblocking(False)
            connection.connect_ex(server.getsockname())
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


class TestResting:
    def fail(self, find, key, times):
        for _ in range(times):
            handler = find(key)
            assert handler.circuit_wait() == 0
            assert handler.make(due()).result == "failed"

    def test_where_nobody_answers_all_subscriptions_of_the_host_rest(self, find, subscribe, receiver, clock):
        port = free_port()
        one, other = (subscribe(url=f"http://127.0.0.1:{port}/{path}").key for path in "ab")
        elsewhere = subscribe(url=receiver().url(host="127.0.0.1")).key
        self.fail(find, one, UNANSWERED)
        assert find(one).circuit_wait() > 1
        assert find(other).circuit_wait() > 1
        assert find(elsewhere).circuit_wait() == 0
        clock.now += 1000
        assert find(other).circuit_wait() == 0  # one attempt is let through
        assert find(one).circuit_wait() > 1

    @pytest.mark.parametrize("how", [silent, silence], ids=["hangs up", "hangs"])
    def test_paths_without_an_answer_rest_by_themselves_and_no_other_at_their_host(
        self, find, subscribe, receiver, clock, how
    ):
        there = receiver(answer=lambda request: reply() if request.path == "/sound" else how)
        bad = [subscribe(url=there.url(f"/{number}", "127.0.0.1"), timeout=0.1).key for number in range(3)]
        sound = subscribe(url=there.url("/sound", "127.0.0.1")).key
        for _ in range(UNANSWERED):
            for key in bad:
                self.fail(find, key, 1)
                assert find(sound).circuit_wait() == 0
        assert all(find(key).circuit_wait() > 1 for key in bad)
        assert find(sound).circuit_wait() == 0
        assert find(sound).make(due()).result == "delivered"
        assert all(find(key).circuit_wait() > 1 for key in bad)
        clock.now += 1000
        assert find(bad[0]).circuit_wait() == 0  # its own probe

    def test_one_that_gives_a_host_too_little_time_does_not_send_it_to_rest(self, find, subscribe, unanswering):
        hasty, other = (subscribe(url=unanswering, timeout=seconds).key for seconds in (0.1, TIMEOUT))
        self.fail(find, hasty, UNANSWERED)
        assert find(hasty).circuit_wait() > 1
        assert find(other).circuit_wait() == 0

    def test_the_probe_of_a_host_goes_round(self, find, subscribe, clock):
        url = f"http://127.0.0.1:{free_port()}"
        one, other = (subscribe(url=f"{url}/{path}").key for path in "ab")
        self.fail(find, one, UNANSWERED)
        probes = []
        for _ in range(4):
            clock.now += 700
            for key in (one, other):
                if find(key).circuit_wait() == 0:
                    probes.append(key)
                    assert find(key).make(due()).result == "failed"
        assert probes == [one, other] * 2

    def test_where_somebody_answers_only_the_target_rests(self, find, subscribe, receiver, clock):
        there = receiver(answer=lambda request: reply(500 if request.path == "/broken" else 200))
        broken, sound = (subscribe(url=there.url(path, "127.0.0.1")).key for path in ("/broken", "/sound"))
        self.fail(find, broken, ANSWERED)
        assert find(broken).circuit_wait() > 1
        assert find(sound).circuit_wait() == 0
        assert find(sound).make(due()).result == "delivered"
        assert find(broken).circuit_wait() > 1

    def test_an_answer_whatever_it_says_wakes_the_host(self, find, subscribe, receiver):
        answers = iter([silent] * 4 + [reply(500, Connection="close")] + [silent] * 2)
        there = receiver(answer=lambda request: next(answers))
        self.fail(find, subscribe(url=there.url(host="127.0.0.1")).key, 7)
        assert len(there.requests) == 7

    def test_a_target_that_refuses_is_there(self, find, subscribe, receiver):
        statuses = iter([*[500] * (ANSWERED - 1), 410, *[500] * (ANSWERED - 1)])
        there = receiver(answer=lambda request: reply(next(statuses)))
        key = subscribe(url=there.url(host="127.0.0.1")).key
        self.fail(find, key, ANSWERED - 1)
        assert find(key).make(due()).result == "refused"
        self.fail(find, key, ANSWERED - 1)
        assert find(key).circuit_wait() == 0

    def test_targets_of_the_same_host_are_known_by_it_however_it_is_written(self, find, subscribe):
        port = free_port()
        urls = [f"amqp://kit:a@LOCALHOST:{port}/x", f"amqp://localhost:{port}/y"]
        one, other = (subscribe("amqp", url=url, routing_key="q", timeout=TIMEOUT).key for url in urls)
        self.fail(find, one, UNANSWERED)
        assert find(other).circuit_wait() > 1

    def test_those_that_rest_are_listed_hosts_without_secrets_and_subscriptions(
        self, sqlite, senders, subscribe, receiver, clock
    ):
        circuits = Circuits.make(clock)
        finder = target_handlers(senders, circuits=circuits)

        def find(key):
            with sqlite.read() as connection:
                return finder(key, connection)

        assert circuits.open_circuits() == []
        port = free_port()
        nobody = subscribe(url=f"http://LOCALHOST:{port}/hush?y", timeout=TIMEOUT).key
        self.fail(find, nobody, UNANSWERED)
        there = receiver(answer=lambda request: reply(500))
        broken = subscribe(url=there.url(host="127.0.0.1")).key
        self.fail(find, broken, ANSWERED)
        now = datetime.now(UTC)
        found = {each.receiver: (each.until - now).total_seconds() for each in circuits.open_circuits()}
        assert found == {f"http://localhost:{port}": pytest.approx(10, abs=2), broken: pytest.approx(10, abs=2)}
        clock.now += 1000
        assert circuits.open_circuits() == []

    def test_a_mail_server_is_listed_as_the_sender(self):
        circuits = Circuits.make()
        for _ in range(UNANSWERED):
            circuits.record(("email", "", ""), "subscription:1", Outcome("failed", "gone", unreachable=True))
        assert [each.receiver for each in circuits.open_circuits()] == ["email"]

    def test_what_is_postponed_for_a_rest_is_no_attempt(self, sqlite, senders, subscribe, clock):
        key = subscribe(url=f"http://127.0.0.1:{free_port()}", retry=[60] * UNANSWERED).key
        with sqlite.transaction() as connection:
            event = {"ref": 1, "source": "t", "event_id": "1", "name": "a", "body": b"{}", "received_at": NOW}
            connection.execute(insert(events).values(event))
            row = {"ref": 1, "event_ref": 1, "listener": key, "status": WAITING, "created_at": NOW, "due_at": NOW}
            connection.execute(insert(deliveries).values(row))
        find = target_handlers(senders, clock)

        def made():
            with sqlite.read() as connection:
                return connection.execute(select(deliveries)).one(), connection.execute(select(attempts)).all()

        for _ in range(UNANSWERED):
            assert make_attempt(sqlite, find, 1).status == WAITING
        again_at = make_attempt(sqlite, find, 1).due_at
        delivery, rows = made()
        assert again_at > datetime.now(UTC)
        assert (delivery.status, delivery.attempts, delivery.due_at, len(rows)) == (WAITING, 5, again_at, 5)
        clock.now += 1000
        assert make_attempt(sqlite, find, 1).status == "dead"
        delivery, rows = made()
        assert (delivery.status, delivery.attempts, len(rows)) == ("dead", 6, 6)
