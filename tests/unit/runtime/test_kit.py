"""What an extension writes and publishes in one transaction: all of it or nothing, once, in order, for whom it is."""

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
from extension_kit.deliveries.outbox import Recorded
from extension_kit.deliveries.tables import deliveries, events
from extension_kit.engine.app import Engine
from extension_kit.errors import StoreUnavailable
from extension_kit.events.published import PublishedEvent
from extension_kit.protocol import EventProtocol
from extension_kit.runtime.durable import Durability
from extension_kit.settings.kit import Settings
from extension_kit.store.database import Database
from extension_kit.store.migrate import upgrade
from tests.conftest import wait_until
from tests.unit.store.conftest import postgresql, postgresql_url, sqlite_url, url

__all__ = ["postgresql", "postgresql_url", "sqlite_url", "url"]
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)

mine = Table("echo_mine", MetaData(), Column("id", Integer, primary_key=True), Column("text", String(20), unique=True))


class Said(PublishedEvent):
    __slots__ = ()


@dataclass(frozen=True)
class NoSettings:
    pass


PROTOCOL = EventProtocol("echo", NoSettings, lambda host, settings: None, names=("echo.*",), event=Said)


@contextmanager
def durable(url, *extensions):
    """A process's durable half, with a table of the extension's own."""
    database = Database(url)
    upgrade(database, Engine(database).create_tables)
    with database.transaction() as connection:
        mine.create(connection, checkfirst=True)
    database.dispose()
    listeners = [listener for extension in extensions for listener in extension.listeners]
    made = Durability(Settings(database_url=url, worker_threads=4), listeners, [(PROTOCOL, NoSettings())])
    yield made
    made.close(5)


@contextmanager
def working(durability):
    worker = durability.worker("test")
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield
    finally:
        worker.stop()
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture
def host(url):
    extension = Extension("extension-echo")
    extension.listen_to("echo.*", path="/events/echo")(lambda event: None)
    with durable(url, extension) as made:
        yield made.host


def event(id="1", name="echo.said", **more):
    return Said.of(source="echo", id=id, name=name, **{"data": {"said": id}, **more})


def add(transaction, text):
    transaction.connection.execute(insert(mine).values(text=text))


def in_one(host, *steps):
    with host.transaction() as transaction:
        for step in steps:
            step(transaction)


def raising(error):
    def fail(transaction):
        raise error

    return fail


def there(host):
    """How many events, deliveries, jobs and rows of the extension there are."""
    with host.read() as connection:
        counts = [connection.execute(select(func.count()).select_from(table)) for table in (events, deliveries, mine)]
        jobs = connection.exec_driver_sql("SELECT count(*) FROM procrastinate_jobs").scalar_one()
        found, made, rows = (count.scalar_one() for count in counts)
    return found, made, jobs, rows


class TestAllOrNothing:
    def test_what_is_written_and_published_is_there_together(self, host):
        with host.transaction() as transaction:
            add(transaction, "a")
            transaction.publish(event("1"), event("2"))
            assert there(host) == (0, 0, 0, 0)
        assert there(host) == (2, 2, 2, 1)

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
    def test_an_error_leaves_nothing_of_either(self, host, published_first, fail, error):
        with host.transaction() as transaction:
            add(transaction, "taken")

        def publish(transaction):
            transaction.publish(event(series="echo/a"))

        def write(transaction):
            add(transaction, "mine")

        steps = [publish, write] if published_first else [write, publish]
        with pytest.raises(error):
            in_one(host, *steps, fail)
        assert there(host) == (0, 0, 0, 1)
        with host.transaction() as transaction:
            assert transaction.publish(event(series="echo/a")) == [Recorded(True, 1, 1)]

    def test_what_was_taken_back_is_not_delivered(self, url):
        heard, extension = [], Extension("extension-echo")
        extension.listen_to("echo.*", path="/events/echo")(lambda event: heard.append(event.id))
        with durable(url, extension) as made, working(made):
            with pytest.raises(RuntimeError):
                in_one(made.host, lambda transaction: transaction.publish(event("gone")), raising(RuntimeError))
            with made.host.transaction() as transaction:
                transaction.publish(event("kept"))
            wait_until(lambda: heard)
        assert heard == ["kept"]

    def test_nothing_is_published_of_nothing(self, host):
        with host.transaction() as transaction:
            assert transaction.publish() == []
        assert there(host) == (0, 0, 0, 0)

    def test_the_kit_sees_the_state_at_the_beginning_while_it_reads(self, host):
        with host.read() as reading:
            count = select(func.count()).select_from(events)
            assert reading.execute(count).scalar_one() == 0
            with host.transaction() as transaction:
                transaction.publish(event())
            assert reading.execute(count).scalar_one() == 0
        assert there(host)[0] == 1


class TestRecorded:
    @pytest.mark.parametrize("together", [True, False])
    def test_a_known_event_is_not_recorded_again(self, host, together):
        first, again, other = event(data="first", series="echo/a"), event(data="again", series="echo/a"), event("2")
        if together:
            with host.transaction() as transaction:
                told = transaction.publish(first, again, other)
        else:
            told = []
            for one in (first, again, other):
                with host.transaction() as transaction:
                    told += transaction.publish(one)
        # Of those that come together, the second is as new as the first, but nothing is added for it.
        assert told == [Recorded(True, 1, 1), Recorded(together, 1, 0), Recorded(True, None, 1)]
        with host.read() as connection:
            bodies = connection.execute(select(events.c.body).order_by(events.c.ref)).scalars().all()
        assert bodies == [b'"first"', b'{"said":"2"}']

    def test_an_id_is_known_by_its_source(self, host):
        with host.transaction() as transaction:
            told = [
                *transaction.publish(event()),
                *transaction.publish(PublishedEvent.of(source="other", id="1", name="echo.said")),
            ]
        assert [recorded.is_new for recorded in told] == [True, True]

    def test_places_are_those_in_the_series(self, host):
        def publish(*series):
            with host.transaction() as transaction:
                made = [event(f"{name}{next(numbers)}", series=name) for name in series]
                return [recorded.place for recorded in transaction.publish(*made)]

        numbers = iter(range(100))
        assert publish("a", "b", None, "a") == [1, 1, None, 2]
        assert publish("b", "a") == [2, 3]

    def test_it_says_how_many_want_it(self, url):
        extension = Extension("extension-echo")
        for number in range(3):
            extension.listen_to("echo.said", path=f"/events/echo-{number}")(lambda event: None)
        extension.listen_to("echo.told", path="/events/told")(lambda event: None)
        with durable(url, extension) as made, made.host.transaction() as transaction:
            told = transaction.publish(event("1"), event("2", name="echo.told"), event("3", name="echo.other"))
        assert [recorded.deliveries for recorded in told] == [3, 1, 0]

    def test_texts_from_outside_may_be_long_or_odd(self, host):
        odd = "x\x00" * 10_000
        with host.transaction() as transaction:
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
            with made.host.transaction() as transaction:
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
            with made.host.transaction() as transaction:
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
                with made.host.transaction() as transaction:
                    transaction.publish(*(event(f"{key}{number}", series=key) for key in "ab"))
            wait_until(lambda: len(seen) == 60)
        for key in "ab":
            assert [id for series, id in seen if series == key] == [f"{key}{number}" for number in numbers]


@pytest.mark.parametrize(
    ("scope", "expected"),
    [(None, {"all", "anna's", "ben's"}), ("anna", {"all", "anna's"}), ("ben", {"all", "ben's"}), ("eve", {"all"})],
)
def test_subscriptions_get_what_is_of_their_scope_or_of_nobody_in_particular(host, scope, expected):
    with host.transaction() as transaction:
        made = {
            subscriptions.add(
                transaction.connection,
                host.senders,
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
    with host.read() as connection:
        found = set(connection.execute(select(deliveries.c.listener)).scalars())
    assert {name for key, name in made.items() if key in found} == expected


class TestAtTheSameTime:
    def test_who_publishes_last_and_in_one_call_never_waits_in_vain(self, host):
        """Rows of their own first, in one order; then events of the same series, given in any order."""
        told, failed, gate = [], [], threading.Barrier(4, timeout=30)

        def work(number):
            gate.wait()
            for turn in range(10):
                try:
                    with host.transaction() as transaction:
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
        assert there(host) == (120, 120, 120, 40)

    def test_of_two_that_wait_for_each_other_one_is_told_and_has_written_nothing(self, postgresql_url):
        gate, failed = threading.Barrier(2, timeout=30), []
        with durable(postgresql_url) as made:
            host = made.host
            with host.transaction() as transaction:
                add(transaction, "shared")

            def work(first, second):
                try:
                    with host.transaction() as transaction:
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
            assert there(host) == (1, 0, 0, 1)
            with host.transaction() as transaction:
                assert transaction.publish(event("next", series="echo/a"))[0].place == 2

    def test_one_within_another_is_told_to_wait_on_sqlite(self, sqlite_url, monkeypatch):
        monkeypatch.setattr("extension_kit.store.sqlite.WAIT", 0.1)
        with durable(sqlite_url) as made:
            with pytest.raises(StoreUnavailable), made.host.transaction(), made.host.transaction():
                pass
            with made.host.transaction() as transaction:
                assert transaction.publish(event())[0].is_new

    def test_a_process_that_was_forked_publishes_too(self, host):
        with host.transaction() as transaction:
            transaction.publish(event("before", series="echo/a"))
        child = os.fork()
        if child == 0:
            try:
                with host.transaction() as transaction:
                    (recorded,) = transaction.publish(event("child", series="echo/a"))
                os._exit(0 if recorded.is_new else 1)
            except BaseException:
                os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
        with host.transaction() as transaction:
            assert transaction.publish(event("child"), event("parent", series="echo/a")) == [
                Recorded(False, 2, 0),
                Recorded(True, 3, 1),
            ]
