"""Probable mistakes are said at the start: secrets of another key, functions that listen to no event."""

import pytest
from sqlalchemy import update

from extension_kit import Extension
from extension_kit.store.database import Database
from extensions.eventhos.doubts import find_doubts
from extensions.eventhos.settings import EventhosSettings
from extensions.eventhos.tables import actions, clients
from tests.extensions.eventhos.api import CRYPTO_KEY
from tests.extensions.eventhos.making import World, encryption
from tests.extensions.eventhos.served import EVENTHOS, VARIABLES, serving
from tests.support.paths import KIT
from tests.support.servers import run_server
from tests.support.waiting import wait_until

OTHER = "another secret of the tests that encrypts"
SECURITY = {"url": "http://127.0.0.1:1/", "clientId": "a", "clientSecret": "b"}


def found(api, *keys):
    return list(find_doubts(api.kit, EventhosSettings(crypto_key=keys)))


@pytest.fixture
def stored(api):
    """One value of each kind."""
    world = World(api)
    world.add_contract("http://127.0.0.1:1/", security=SECURITY)
    with api.database.transaction() as connection:
        connection.execute(update(clients).values(secret=encryption(api).encrypt("secret")))
    world.send({"a": 1})
    return world


class TestKeys:
    @pytest.mark.parametrize("keys", [(CRYPTO_KEY,), (OTHER, CRYPTO_KEY)])
    def test_nothing_is_said_with_the_key(self, api, stored, keys):
        assert found(api, *keys) == []

    def test_another_key_is_one_line_with_what_to_set(self, api, stored):
        (line,) = found(api, OTHER)
        assert line == (
            "4 of 4 stored values that were tried cannot be read by the key of EXTENSION_EVENTHOS_CRYPTO_KEY (secrets "
            "of clients, requests of actions, credentials of actions, the oldest event of the log): set it to the "
            "present key and the former one, with a comma between them"
        )
        assert OTHER not in line

    def test_what_can_be_read_and_what_is_deleted_is_not_counted(self, api, stored):
        with api.database.transaction() as connection:
            connection.execute(update(actions).values(request=b"of a third key"))
        assert found(api, CRYPTO_KEY)[0].startswith("1 of 4 stored values")
        with api.database.transaction() as connection:
            connection.execute(update(actions).values(deleted=True))
        assert found(api, CRYPTO_KEY) == []


class TestListeners:
    @pytest.fixture
    def listening(self, make_api):
        def listen(*names):
            extension = Extension("extension-follow")
            extension.listen_to(*names)(follow)
            return make_api(extension)

        return listen

    def test_an_identifier_of_no_event_is_named(self, listening):
        api = listening("eventhos.nosuch", "eventhos.*", "experiment.execution.failed")
        (line,) = found(api, CRYPTO_KEY)
        assert line.startswith("A function listens to eventhos.nosuch, and no event has that identifier yet")

    def test_events_and_patterns_are_known(self, listening, world, api):
        with api.database.transaction() as connection:
            connection.execute(update(clients).values(secret=encryption(api).encrypt("secret")))
        assert found(listening(f"eventhos.{world.identifier}", "eventhos.*"), CRYPTO_KEY) == []


def follow(event):
    raise AssertionError("no worker runs it")


def test_a_server_and_a_worker_say_it_once_and_start(tmp_path):
    url = f"sqlite:///{tmp_path}/extension.db"
    with serving(url, tmp_path / "first.log") as server:
        wait_until(lambda: server.health("readiness") == 200)
        assert "cannot be read" not in server.log
    database = Database(url)
    with database.transaction() as connection:
        times = {"created_at": "2026-01-01 00:00:00.000000", "updated_at": "2026-01-01 00:00:00.000000"}
        connection.exec_driver_sql(
            "INSERT INTO eventhos_clients (identifier, client_id, name, description, secret, permissions, revoked, "
            "deleted, created_at, updated_at) VALUES ('a', 'a', '', '', x'00', '[]', 0, 0, :created_at, :updated_at)",
            times,
        )
    database.dispose()
    for command, is_ready in (("serve", "Update readiness probe"), ("worker", "Delivery worker started")):
        log = tmp_path / f"{command}.log"
        with run_server([KIT, command, EVENTHOS], log, EXTENSION_DATABASE_URL=url, **VARIABLES) as served:
            wait_until(lambda served=served, text=is_ready: text in served.log and served.health("readiness") == 200)
            assert served.log.count("1 of 1 stored values that were tried cannot be read") == 1
