"""A new key of the encryption: what an old one is needed for is encrypted with the new one."""

import logging

from sqlalchemy import select, update

from extensions.eventhos.encryption import Encryption
from extensions.eventhos.key_rotation import encrypt_with_new_key
from extensions.eventhos.settings import EventhosSettings
from extensions.eventhos.tables import actions, clients
from tests.extensions.eventhos.api import CRYPTO_KEY
from tests.extensions.eventhos.making import World

NEW = "the new secret of the tests that encrypts"
BOTH = EventhosSettings(crypto_key=(NEW, CRYPTO_KEY))
SECURITY = {"url": "http://127.0.0.1:1/", "clientId": "a", "clientSecret": "b"}


def values(api):
    with api.database.read() as connection:
        return [
            value
            for column in (clients.c.secret, actions.c.request, actions.c.security)
            for value in connection.execute(select(column).where(column.is_not(None))).scalars()
        ]


def prepared(api):
    world = World(api)
    world.add_contract("http://127.0.0.1:1/", security=SECURITY)
    secret = Encryption.of(api.kit, EventhosSettings(crypto_key=(CRYPTO_KEY,))).encrypt("secret")
    with api.database.transaction() as connection:
        connection.execute(update(clients).values(secret=secret))
    return world


def test_the_old_key_is_needed_no_more(api):
    prepared(api)
    before = [Encryption.of(api.kit, BOTH).decrypt(value) for value in values(api)]
    assert len(before) == 3
    assert encrypt_with_new_key(api.kit, BOTH) == 3
    only_new = Encryption.of(api.kit, EventhosSettings(crypto_key=(NEW,)))
    assert [only_new.decrypt(value) for value in values(api)] == before
    assert encrypt_with_new_key(api.kit, BOTH) == 0


def test_nothing_is_changed_without_an_old_key(api):
    prepared(api)
    before = values(api)
    assert encrypt_with_new_key(api.kit, EventhosSettings(crypto_key=(NEW,))) == 0
    assert values(api) == before


def test_a_value_of_a_third_key_is_named_and_does_not_stop_the_others(api, caplog):
    world = prepared(api)
    with api.database.transaction() as connection:
        connection.execute(update(clients).values(secret=b"of a third key"))
    with caplog.at_level(logging.ERROR):
        assert encrypt_with_new_key(api.kit, BOTH) == 2
    assert f"eventhos_clients.secret {world.client} cannot be read" in caplog.text
