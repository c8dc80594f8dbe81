"""Extensions that speak other systems' protocols, put together to be served."""

from dataclasses import dataclass
from functools import partial

import orjson
import pytest
from flask import Blueprint, Response
from sqlalchemy import text

from extension_kit import Extension, RegistrationError
from extension_kit.deliveries import subscriptions
from extension_kit.errors import SettingError, StoreError
from extension_kit.events.names import STEADYBIT_EVENT_NAMES
from extension_kit.events.registration_document import build_document, serialize
from extension_kit.events.registry import SUBSCRIPTIONS_PATH
from extension_kit.protocol import DeliveryFormat, EventProtocol, Message, Routes, Task
from extension_kit.runtime.service import Service
from extension_kit.settings.declare import TEXT, setting, whole_number
from extension_kit.settings.kit import Settings
from tests.support.waiting import wait_until


@dataclass(frozen=True)
class EchoSettings:
    size: int = setting("EXTENSION_ECHO_SIZE", 3, whole_number(1, 9), "How much.")
    secret: str = setting("EXTENSION_ECHO_SECRET", "", TEXT, "Nobody may see it.", secret=True)


def routes(kit, settings):
    return Routes(Blueprint("echo", __name__), ("/echo",), lambda error: Response(status=500))


def delivery_format(kit, settings):
    return DeliveryFormat(lambda due, subscription: Message("1", due.body))


def speaking(source="echo", **more):
    extension = Extension(f"extension-{source}")
    extension.add_protocol(EventProtocol(source, EchoSettings, routes, names=(f"{source}.*",), **more))
    return extension


@pytest.fixture
def serve(tmp_path):
    """Put extensions together, with a database of their own."""
    made = []

    def serve(*extensions, **options):
        made.append(
            Service.of(extensions, Settings(database_url=f"sqlite:///{tmp_path}/extension.db"), **options).open()
        )
        return made[-1]

    yield serve
    for service in made:
        if service.runtime is not None:
            service.runtime.close(5)


class TestSettings:
    def test_they_are_read_from_the_environment(self, serve, monkeypatch):
        monkeypatch.setenv("EXTENSION_ECHO_SIZE", "7")
        service = serve(speaking())
        assert [bound.settings for bound in service.protocols] == [EchoSettings(size=7)]
        assert service.variables == {"EXTENSION_ECHO_SIZE", "EXTENSION_ECHO_SECRET"}

    @pytest.mark.parametrize("durable", [True, False])
    def test_a_bad_value_stops_the_start(self, serve, monkeypatch, durable):
        monkeypatch.setenv("EXTENSION_ECHO_SIZE", "70")
        with pytest.raises(SettingError, match=r'^EXTENSION_ECHO_SIZE is "70": a whole number from 1 to 9 is allowed$'):
            serve(speaking(), durable=durable)


class TestParts:
    def test_a_protocol_is_enough_to_be_served(self, serve):
        service = serve(speaking())
        assert service.runtime is not None
        assert build_document(service.registry) == {"eventListeners": []}

    def test_the_kit_knows_the_names_of_events(self, serve):
        names = serve(speaking(), speaking("pulp")).runtime.kit.event_names
        assert set(names) == {*STEADYBIT_EVENT_NAMES, "echo.*", "pulp.*"}

    def test_its_doubts_are_said_and_refuse_nothing(self, serve, caplog, monkeypatch):
        def fail(kit, settings):
            yield "half"
            raise ValueError("broken")

        def cannot(kit, settings):
            raise StoreError("no room")

        monkeypatch.setenv("EXTENSION_ECHO_SIZES", "3")
        service = serve(
            speaking(doubts=lambda kit, settings: [f"{settings.size} of {len(kit.listened_to)}"]),
            speaking("broken", doubts=fail),
            speaking("busy", doubts=cannot),
        )
        said = service.doubts()
        assert said == ["EXTENSION_ECHO_SIZES is not a setting: did you mean EXTENSION_ECHO_SIZE?", "3 of 0"]
        assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
            ("ERROR", "Cannot look for mistakes of broken")
        ]

    def test_the_kit_knows_what_functions_listen_to(self, serve):
        mine = Extension("extension-mine")
        mine.listen_to("echo.*", "echo.a", path="/events/a")(lambda event: None)
        mine.listen_to("echo.a", path="/events/b")(lambda event: None)
        assert serve(mine, speaking()).runtime.kit.listened_to == ("echo.*", "echo.a")

    def test_without_a_database_it_is_left_out(self, serve, tmp_path):
        service = serve(speaking(delivery_format=delivery_format), durable=False)
        assert (service.runtime, service.protocols, service.variables) == (None, (), set())
        assert service.receiver.routes == {}
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(("extensions", "kept"), [([], False), ([speaking()], True)])
    def test_immediate_listeners_get_deliveries_where_a_protocol_publishes(self, serve, extensions, kept):
        mine = Extension("extension-mine")
        mine.listen_to("*", path="/events/quick", immediate=True)(lambda event: None)
        runtime = serve(mine, *extensions).runtime
        assert [key.rpartition("@")[2] for key in runtime.keys] == ["/events/quick"] if kept else runtime is None

    def test_extensions_need_names_of_their_own(self, serve):
        one, other = Extension("extension-oncall"), Extension("extension-oncall")
        one.listen_to("*", path="/events/one", immediate=True)(print)
        other.listen_to("*", path="/events/other", immediate=True)(print)
        with pytest.raises(RegistrationError, match="two extensions are called extension-oncall"):
            serve(one, other)

    def test_a_system_is_spoken_with_by_one_extension(self, serve):
        with pytest.raises(RegistrationError, match=r"^echo is spoken by two extensions"):
            serve(speaking(), speaking("pulp"), speaking())

    @pytest.mark.parametrize("every", [0, -1, float("nan")])
    def test_a_task_that_never_pauses_is_refused(self, every):
        with pytest.raises(RegistrationError, match="a positive number of seconds"):
            Task(every, print)

    def test_a_task_that_nobody_would_do_is_refused(self):
        async def look(kit, settings):
            pass

        for run in (look, partial(look)):
            with pytest.raises(RegistrationError, match="a task needs a plain function"):
                Task(60, run)

    def test_a_task_that_nobody_does_is_told(self, serve, caplog):
        async def look():
            pass

        service = serve(speaking(tasks=(Task(3600, lambda kit, settings: look()),)))
        service.runtime.start_periodic_tasks()
        wait_until(lambda: "the task echo-<lambda> returned an awaitable (coroutine)" in caplog.text)

    def test_tasks_that_are_called_the_same_are_told_apart(self, serve, caplog):
        def fail(why, kit, settings):
            raise ValueError(why)

        service = serve(speaking(tasks=tuple(Task(3600, partial(fail, why)) for why in ("first", "second"))))
        service.runtime.start_periodic_tasks()
        wait_until(lambda: len(caplog.records) == 2)
        told = {record.exc_info[1].args[0]: record.getMessage() for record in caplog.records}
        assert told == {
            "first": "Periodic task echo-task-1 failed, retrying in 3600 s",
            "second": "Periodic task echo-task-2 failed, retrying in 3600 s",
        }

    def test_a_task_need_not_be_a_function(self, serve):
        done = []
        service = serve(speaking(tasks=(Task(3600, partial(lambda word, kit, settings: done.append(kit), "hi")),)))
        service.runtime.start_periodic_tasks()
        wait_until(lambda: done == [service.runtime.kit])


class TestSubscriptions:
    @pytest.mark.parametrize(("form", "there"), [(delivery_format, True), (None, False)])
    def test_there_is_a_path_for_them_where_a_protocol_has_any(self, serve, form, there):
        service = serve(speaking(delivery_format=form), speaking("pulp"))
        assert (SUBSCRIPTIONS_PATH in service.receiver.routes) is there

    def test_a_listener_that_has_their_path_is_refused(self, serve):
        mine = Extension("extension-mine")
        mine.listen_to("killswitch.engaged", path=SUBSCRIPTIONS_PATH)(lambda event: None)
        assert serve(mine, speaking()).receiver.routes.keys() == {SUBSCRIPTIONS_PATH}
        with pytest.raises(RegistrationError, match="is used by the kit itself, choose another path"):
            serve(mine, speaking("pulp", delivery_format=delivery_format))

    def test_while_the_database_is_away_agents_are_asked_for_what_was_wanted_last(self, serve):
        kit = serve(speaking(delivery_format=delivery_format)).runtime.kit
        with kit.transaction() as transaction:
            given = {"name": "mine", "patterns": ["killswitch.engaged"], "target": {"url": "https://example.com"}}
            subscriptions.add(transaction.connection, kit.senders, protocol="echo", sender="http", **given)
        service = serve(speaking(delivery_format=delivery_format))
        with kit.transaction() as transaction:
            transaction.connection.execute(text("ALTER TABLE subscriptions RENAME TO away"))
        asked = [
            {"method": "POST", "path": SUBSCRIPTIONS_PATH, "listenTo": ["killswitch.engaged"], "restrictTo": "leader"}
        ]
        body, etag = serialize(service.registry)
        assert orjson.loads(body) == {"eventListeners": asked}
        assert serialize(service.registry) == (body, etag)
