"""What an extension writes and publishes in one transaction: all of it or nothing, once, in order, for whom it is."""

import itertools
import os
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from extension_kit import Extension
from extension_kit.deliveries import subscriptions
from extension_kit.deliveries.entries import Recorded
from extension_kit.deliveries.tables import deliveries, events
from extension_kit.errors import StoreUnavailable
from extension_kit.events.published import PublishedEvent
from extension_kit.protocol import EventProtocol
from extension_kit.runtime.contract import BoundProtocol
from extension_kit.runtime.durable import DurableRuntime
from extension_kit.settings.kit import Settings
from extension_kit.store.database import Database
from extension_kit.store.migrate import upgrade
from tests.support.stores import postgresql, postgresql_url, sqlite_url, url
from tests.support.waiting import wait_until

__all__ = ["postgresql", "postgresql_url", "sqlite_url", "url"]
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)

mine = Table("echo_mine", MetaData(), Column("id", Integer, primary_key=True), Column("text", String(20), unique=True))


class Said(PublishedEvent):
    __slots__ = ()


@dataclass(frozen=True)
class NoSettings:
    pass


PROTOCOL = EventProtocol("echo", NoSettings, lambda kit, settings: None, names=("echo.*",), event=Said)


@contextmanager
def durable(url, *extensions):
    """A process's durable half, with a table of the extension's own."""
    database = Database(url)
    upgrade(database)
    with database.transaction() as connection:
        mine.create(connection, checkfirst=True)
    database.dispose()
    listeners = [listener for extension in extensions for listener in extension.listeners]
    made = DurableRuntime(
        Settings(database_url=url, worker_threads=4), listeners, [BoundProtocol(PROTOCOL, NoSettings())]
    )
    yield made
    made.close(5)


@contextmanager
def working(runtime):
    worker = runtime.worker("test")
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield
    finally:
        worker.stop()
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture
def kit(url):
    extension = Extension("extension-echo")
    extension.listen_to("echo.*", path="/events/echo")(lambda event: None)
    with durable(url, extension) as made:
        yield made.kit


def event(id="1", name="echo.said", **more):
    return Said.of(source="echo", id=id, name=name, **{"data": {"said": id}, **more})


def add(transaction, text):
    transaction.connection.execute(insert(mine).values(text=text))


def in_one(kit, *steps):
    with kit.transaction() as transaction:
        for step in steps:
            step(transaction)


def raising(error):
    def fail(transaction):
        raise error

    return fail


def there(kit):
    """How many events, deliveries and rows of the extension there are."""
    with kit.read() as connection:
        counts = [connection.execute(select(func.count()).select_from(table)) for table in (events, deliveries, mine)]
        return tuple(count.scalar_one() for count in counts)


class TestAllOrNothing:
    def test_what_is_written_and_published_is_there_together(self, kit):
        with kit.transaction() as transaction:
            add(transaction, "a")
            transaction.publish(event("1"), event("2"))
            assert there(kit) == (0, 0, 0)
        assert there(kit) == (2, 2, 1)

    @pytest.mark.parametrize("published_first", [True, False])
    @pytest.mark.parametrize(
        ("fail", "error"),
        [
            (raising(RuntimeError), RuntimeError),
            (raising(SystemExit), SystemExit),
            (lambda transaction: add(transaction, "taken"), IntegrityError),
            (lambda transaction: transaction.publish(event(data=b"x")), TypeError),
        ],
    )
    def test_an_error_leaves_nothing_of_either(self, kit, published_first, fail, error):
        with kit.transaction() as transaction:
            add(transaction, "taken")

        def publish(transaction):
            transaction.publish(event(series="echo/a"))

        def write(transaction):
            add(transaction, "mine")

        steps = [publish, write] if published_first else [write, publish]
        with pytest.raises(error):
            in_one(kit, *steps, fail)
        assert there(kit) == (0, 0, 1)
        with kit.transaction() as transaction:
            assert transaction.publish(event(series="echo/a")) == [Recorded(True, 1, 1)]

    def test_what_was_taken_back_is_not_delivered(self, url):
        heard, extension = [], Extension("extension-echo")
        extension.listen_to("echo.*", path="/events/echo")(lambda event: heard.append(event.id))
        with durable(url, extension) as made, working(made):
            with pytest.raises(RuntimeError):
                in_one(made.kit, lambda transaction: transaction.publish(event("gone")), raising(RuntimeError))
            with made.kit.transaction() as transaction:
                transaction.publish(event("kept"))
            wait_until(lambda: heard)
        assert heard == ["kept"]

    def test_nothing_is_published_of_nothing(self, kit):
        with kit.transaction() as transaction:
            assert transaction.publish() == []
        assert there(kit) == (0, 0, 0)

    def test_the_kit_sees_the_state_at_the_beginning_while_it_reads(self, kit):
        with kit.read() as reading:
            count = select(func.count()).select_from(events)
            assert reading.execute(count).scalar_one() == 0
            with kit.transaction() as transaction:
                transaction.publish(event())
            assert reading.execute(count).scalar_one() == 0
        assert there(kit)[0] == 1


class TestRecorded:
    @pytest.mark.parametrize("together", [True, False])
    def test_a_known_event_is_not_recorded_again(self, kit, together):
        first, again, other = event(data="first", series="echo/a"), event(data="again", series="echo/a"), event("2")
        if together:
            with kit.transaction() as transaction:
                told = transaction.publish(first, again, other)
        else:
            told = []
            for one in (first, again, other):
                with kit.transaction() as transaction:
                    told += transaction.publish(one)
        # Of those that come together, the second is as new as the first, but nothing is added for it.
        assert told == [Recorded(True, 1, 1), Recorded(together, 1, 0), Recorded(True, None, 1)]
        with kit.read() as connection:
            bodies = connection.execute(select(events.c.body).order_by(events.c.ref)).scalars().all()
        assert bodies == [b'"first"', b'{"said":"2"}']

    def test_an_id_is_known_by_its_source(self, kit):
        with kit.transaction() as transaction:
            told = [
                *transaction.publish(event()),
                *transaction.publish(PublishedEvent.of(source="other", id="1", name="echo.said")),
            ]
        assert [recorded.is_new for recorded in told] == [True, True]

    def test_places_are_those_in_the_series(self, kit):
        def publish(*series):
            with kit.transaction() as transaction:
                made = [event(f"{name}{next(numbers)}", series=name) for name in series]
                return [recorded.place for recorded in transaction.publish(*made)]

        numbers = itertools.count()
        assert publish("a", "b", None, "a") == [1, 1, None, 2]
        assert publish("b", "a") == [2, 3]

    def test_it_says_how_many_want_it(self, url):
        extension = Extension("extension-echo")
        for number in range(3):
            extension.listen_to("echo.said", path=f"/events/echo-{number}")(lambda event: None)
        extension.listen_to("echo.told", path="/events/told")(lambda event: None)
        with durable(url, extension) as made, made.kit.transaction() as transaction:
            told = transaction.publish(event("1"), event("2", name="echo.told"), event("3", name="echo.other"))
        assert [recorded.deliveries for recorded in told] == [3, 1, 0]

    def test_texts_from_outside_may_be_long_or_odd(self, kit):
        odd = "x\x00" * 10_000
        with kit.transaction() as transaction:
            given = {"id": odd, "name": f"echo.{odd}", "subject": odd, "series": odd, "scope": odd}
            assert transaction.publish(event(**given)) == [Recorded(True, 1, 1)]
            assert transaction.publish(event(**given)) == [Recorded(False, 1, 0)]


class TestFunctions:
    def test_those_of_every_path_get_it_by_the_worker_the_immediate_ones_too(self, url):
        seen, threads = [], []
        extension, other = Extension("extension-echo"), Extension("extension-other")

        def note(name):
            def function(event):
                seen.append((name, event.id))
                threads.append(threading.current_thread())

            function.__qualname__ = name
            return function

        extension.listen_to("echo.said", path="/events/a")(note("durable"))
        extension.listen_to("echo.*", path="/events/b", immediate=True)(note("immediate"))
        other.listen_to("*", path="/events/c")(note("other's"))
        other.listen_to("killswitch.engaged", path="/events/d")(note("of Steadybit"))
        with durable(url, extension, other) as made, working(made):
            with made.kit.transaction() as transaction:
                transaction.publish(event("1"), event("2", name="echo.told"))
            wait_until(lambda: len(seen) == 5)
        assert sorted(seen) == [
            ("durable", "1"),
            ("immediate", "1"),
            ("immediate", "2"),
            ("other's", "1"),
            ("other's", "2"),
        ]
        assert threading.current_thread() not in threads

    def test_they_get_the_view_of_the_protocol(self, url):
        seen, extension = [], Extension("extension-echo")
        extension.listen_to("echo.*", path="/events/echo")(lambda event: seen.append(event))
        sent = event("7", time=NOON, subject="a/1", series="echo/a", data={"said": ["ä", None]})
        with durable(url, extension) as made, working(made):
            with made.kit.transaction() as transaction:
                transaction.publish(sent)
            (got,) = wait_until(lambda: seen)
        assert type(got) is Said
        names = ("source", "id", "name", "time", "subject", "series", "data", "body")
        assert [getattr(got, name) for name in names] == [getattr(sent, name) for name in names]
        assert got.remaining_time > 0

    def test_a_series_is_handled_in_the_order_of_its_places(self, url):
        seen, extension, numbers = [], Extension("extension-echo"), range(30)
        extension.listen_to("echo.*", path="/events/echo")(lambda event: seen.append((event.series, event.id)))
        with durable(url, extension) as made, working(made):
            for number in numbers:
                with made.kit.transaction() as transaction:
                    transaction.publish(*(event(f"{key}{number}", series=key) for key in "ab"))
            wait_until(lambda: len(seen) == 60)
        for key in "ab":
            assert [id for series, id in seen if series == key] == [f"{key}{number}" for number in numbers]


@pytest.mark.parametrize(
    ("scope", "expected"),
    [(None, {"all", "anna's", "ben's"}), ("anna", {"all", "anna's"}), ("ben", {"all", "ben's"}), ("eve", {"all"})],
)
def test_subscriptions_get_what_is_of_their_scope_or_of_nobody_in_particular(kit, scope, expected):
    with kit.transaction() as transaction:
        made = {
            subscriptions.add(
                transaction.connection,
                kit.senders,
                protocol="echo",
                name=name,
                patterns=["echo.*"],
                sender="http",
                target={"url": "https://example.com"},
                scope=whose,
            ).key: name
            for name, whose in (("all", ""), ("anna's", "anna"), ("ben's", "ben"))
        }
        assert transaction.publish(event(scope=scope))[0].deliveries == len(expected) + 1
    with kit.read() as connection:
        found = set(connection.execute(select(deliveries.c.listener)).scalars())
    assert {name for key, name in made.items() if key in found} == expected


class TestDeliver:
    @pytest.fixture
    def subscribe(self, kit):
        numbers = itertools.count()

        def subscribe(*patterns, sender="protocol", **more):
            with kit.transaction() as transaction:
                own = {"protocol": "echo", "name": f"{next(numbers)}", "patterns": patterns, "sender": sender}
                target = {"url": "https://example.com"} if sender == "http" else {}
                return subscriptions.add(transaction.connection, kit.senders, **own, target=target, **more)

        return subscribe

    def listeners(self, kit):
        with kit.read() as connection:
            return list(connection.execute(select(deliveries.c.listener).order_by(deliveries.c.ref)).scalars())

    def deliver(self, kit, event, *those):
        with kit.transaction() as transaction:
            return transaction.deliver(event, [one.ref for one in those])

    def test_it_is_for_the_named_subscriptions_and_no_function_or_other_subscription(self, kit, subscribe):
        one, other, _ = subscribe(), subscribe("other.*", sender="http"), subscribe()
        for pattern, sender in (("*", "protocol"), ("*", "http"), ("echo.said", "protocol")):
            subscribe(pattern, sender=sender)
        assert self.deliver(kit, event(series="echo/a"), other, one) == Recorded(True, 1, 2)
        assert self.listeners(kit) == [other.key, one.key]

    def test_neither_pattern_nor_subject_nor_scope_matter_nor_whether_it_is_enabled(self, kit, subscribe):
        past = datetime(2020, 1, 1, tzinfo=UTC)
        wishes = ({"subject": "other"}, {"scope": "anna"}, {"enabled": False}, {"expires_at": past})
        those = [subscribe("other.*", **wish) for wish in wishes]
        assert self.deliver(kit, event(scope="ben", subject="mine"), *those).deliveries == len(wishes)
        assert self.listeners(kit) == [one.key for one in those]

    def test_one_that_is_named_twice_gets_it_once(self, kit, subscribe):
        one = subscribe()
        assert self.deliver(kit, event(), one, one) == Recorded(True, None, 1)

    def test_a_known_event_gets_to_those_that_do_not_have_it(self, kit, subscribe):
        one, other = subscribe(), subscribe()
        assert self.deliver(kit, event(), one) == Recorded(True, None, 1)
        assert self.deliver(kit, event(), one, other) == Recorded(False, None, 1)
        assert self.listeners(kit) == [one.key, other.key]

    def test_for_nobody_it_is_recorded_only(self, kit, subscribe):
        subscribe("*")
        assert self.deliver(kit, event()) == Recorded(True, None, 0)
        assert there(kit)[:2] == (1, 0)

    def test_an_error_leaves_nothing_of_it(self, kit, subscribe):
        one = subscribe()
        with pytest.raises(RuntimeError):
            in_one(kit, lambda transaction: transaction.deliver(event(), [one.ref]), raising(RuntimeError))
        assert there(kit) == (0, 0, 0)

    def test_its_series_is_that_of_published_events(self, kit, subscribe):
        one = subscribe("echo.*")
        with kit.transaction() as transaction:
            places = [
                transaction.publish(event("1", series="echo/a"))[0].place,
                transaction.deliver(event("2", series="echo/a"), [one.ref]).place,
                transaction.publish(event("3", series="echo/a"))[0].place,
            ]
        assert places == [1, 2, 3]


class TestAtTheSameTime:
    def test_who_publishes_last_and_in_one_call_never_waits_in_vain(self, kit):
        """Rows of their own first, in one order; then events of the same series, given in any order."""
        told, failed, gate = [], [], threading.Barrier(4, timeout=30)

        def work(number):
            gate.wait()
            for turn in range(10):
                try:
                    with kit.transaction() as transaction:
                        add(transaction, f"{number}/{turn}")
                        made = [event(f"{key}/{number}/{turn}", series=key) for key in "abc"]
                        told.extend(transaction.publish(*made[:: 1 if number % 2 else -1]))
                except Exception as error:
                    failed.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert failed == []
        assert sorted(recorded.place for recorded in told) == sorted([*range(1, 41)] * 3)
        assert there(kit) == (120, 120, 40)

    def test_of_two_that_wait_for_each_other_one_is_told_and_has_written_nothing(self, postgresql_url):
        gate, failed = threading.Barrier(2, timeout=30), []
        with durable(postgresql_url) as made:
            kit = made.kit
            with kit.transaction() as transaction:
                add(transaction, "shared")

            def work(first, second):
                try:
                    with kit.transaction() as transaction:
                        first(transaction)
                        gate.wait()
                        second(transaction)
                except StoreUnavailable as error:
                    failed.append(error)

            def change(transaction):
                transaction.connection.execute(update(mine).values(id=mine.c.id + 1))

            def publish(transaction):
                name = threading.current_thread().name
                transaction.publish(event(name, series="echo/a"))

            orders = ((change, publish), (publish, change))
            threads = [threading.Thread(target=work, args=order, name=f"t{n}") for n, order in enumerate(orders)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(30)
            (error,) = failed
            assert "is busy: others have been writing for too long" in str(error)
            assert there(kit) == (1, 0, 1)
            with kit.transaction() as transaction:
                assert transaction.publish(event("next", series="echo/a"))[0].place == 2

    def test_one_within_another_is_told_to_wait_on_sqlite(self, sqlite_url, monkeypatch):
        monkeypatch.setattr("extension_kit.store.sqlite.WAIT", 0.1)
        with durable(sqlite_url) as made:
            with pytest.raises(StoreUnavailable), made.kit.transaction(), made.kit.transaction():
                pass
            with made.kit.transaction() as transaction:
                assert transaction.publish(event())[0].is_new

    def test_a_process_that_was_forked_publishes_too(self, kit):
        with kit.transaction() as transaction:
            transaction.publish(event("before", series="echo/a"))
        child = os.fork()
        if child == 0:
            try:
                with kit.transaction() as transaction:
                    (recorded,) = transaction.publish(event("child", series="echo/a"))
                os._exit(0 if recorded.is_new else 1)
            except BaseException:
                os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
        with kit.transaction() as transaction:
            assert transaction.publish(event("child"), event("parent", series="echo/a")) == [
                Recorded(False, 2, 0),
                Recorded(True, 3, 1),
            ]
