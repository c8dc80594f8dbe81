"""Rows that tests need before they send, made without the routes, which have tests of their own."""

from datetime import UTC, datetime
from hashlib import sha256
from secrets import token_hex

from sqlalchemy import insert

from extension_kit.protocol import subscriptions
from extensions.eventhos.encryption import Encryption
from extensions.eventhos.settings import EventhosSettings
from extensions.eventhos.tables import actions, clients, contracts, events, keys, systems
from tests.extensions.eventhos.api import CRYPTO_KEY
from tests.support.waiting import wait_until

KEY = "a-key-of-the-tests"


def encryption(api):
    return Encryption.of(api.kit, EventhosSettings(crypto_key=(CRYPTO_KEY,)))


class Producer:
    """Sends an event with a key, and reads the event log.

    Attributes:
        api: the API.
        key: the key.
        identifier: of the event.
    """

    def __init__(self, api, key, identifier):
        self.api = api
        self.key = key
        self.identifier = identifier

    def send(self, body=None, *, status=200, identifier=None, key=None, headers=None, **query):
        """Send the event and return the answer."""
        return self.api.ask(
            "POST",
            "/event/send",
            body,
            status=status,
            headers={"access-key": key or self.key, **(headers or {})},
            **{"event-identifier": identifier or self.identifier, **query},
        )

    def log(self):
        """Return the event log, newest first."""
        return self.api.ask("GET", "/event/received", itemsPerPage=100)["content"]["items"]

    def request(self, received):
        """Return the request of an event of the log."""
        return self.api.ask("GET", f"/event/received/{received}")["content"]["receivedEvent"]["received_request"]

    def executions(self, received):
        """Return the executions of an event of the log."""
        return self.api.ask("GET", f"/event/received/{received}")["content"]["executedEventContracts"]

    def execution(self, detail):
        return self.api.ask("GET", f"/received/execution-detail/{detail}")["content"]


class World(Producer):
    """A producer with a client, a key and an event; actions and contracts are added.

    Attributes:
        event: number of the event.
    """

    def __init__(self, api, key=KEY):
        name = token_hex(4)
        super().__init__(api, key, f"new-{name}")
        times = {"created_at": datetime.now(UTC), "updated_at": datetime.now(UTC)}
        self._times = times
        with api.database.transaction() as connection:
            client = {"identifier": name, "client_id": f"{name}::usil.app", "secret": b"", "permissions": [], **times}
            self.client = self._add(connection, clients, client)
            row = {"client": self.client, "hash": sha256(key.encode()).hexdigest(), "created_at": times["created_at"]}
            self._add(connection, keys, row)
            system = {"class": "hybrid", "identifier": name, "name": name, "client": self.client, **times}
            self.system = self._add(connection, systems, system)
        self.event = self.add_event(self.identifier)

    @staticmethod
    def _add(connection, table, row):
        return connection.execute(insert(table).values(row).returning(table.c.id)).scalar_one()

    def add_event(self, identifier):
        with self.api.database.transaction() as connection:
            row = {"system": self.system, "identifier": identifier, "name": identifier, **self._times}
            return self._add(connection, events, row)

    def add_contract(
        self, url, order=0, *, method="POST", reply_to=None, security=None, event=None, template=None, **more
    ):
        """Add an action that calls a URL, and the contract of the event with it; return the contract's number."""
        name = token_hex(4)
        request = {
            "method": "POST",
            "url": url,
            "headers": {},
            "params": {},
            "body": None,
            "expression": None,
            "secretHeaders": [],
            **(template or {}),
        }
        encrypt = encryption(self.api).encrypt
        with self.api.database.transaction() as connection:
            action = {
                "system": self.system,
                "identifier": name,
                "name": name,
                "request": encrypt(request),
                "security": None if security is None else encrypt(security),
                "reply_to": reply_to,
                **self._times,
            }
            subscription = subscriptions.add(
                connection, self.api.kit.senders, protocol="eventhos", name=name, sender="protocol", target={}
            )
            contract = {
                "event": event or self.event,
                "action": self._add(connection, actions, action),
                "identifier": name,
                "name": name,
                "order": order,
                "subscription": subscription.ref,
                **self._times,
                **more,
            }
            return self._add(connection, contracts, contract)


def ended(world, number):
    """Wait until events of the log have ended, and return them, oldest first."""
    rows = []

    def is_so():
        rows[:] = world.log()
        return len(rows) == number and all(state is not None for row in rows for state in row["state"])

    wait_until(is_so)
    return rows[::-1]
