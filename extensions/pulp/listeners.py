"""Event listeners: create, find, change and remove them, each with its group of the kit's subscriptions.

Rules of values and of updates are those of Pulp 2 (event listener docs): configurations are stored as they come, an
update merges the keys of a configuration, and null removes one.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from sqlalchemy import Connection, Row, delete, insert, select, update

from extension_kit.protocol import Kit, lock_name, subscription_groups

from .answers import PulpError, invalid, missing
from .encryption import Passwords
from .event_types import ANY, expand
from .notifiers import NOTIFIERS, PASSWORD, recipient_hash, recipients, stored_target
from .object_ids import ObjectIds
from .tables import listeners

SOURCE = "pulp"
"""The source of Pulp's events, and the protocol of its subscriptions."""

MOST_TYPES = 1000
"""Maximum number of entries of ``event_types``."""

MOST_RECIPIENTS = 1000
"""Maximum number of addresses of a listener."""

_ids = ObjectIds()
_is_id = re.compile("[0-9a-f]{24}").fullmatch


@dataclass(frozen=True)
class Listener:
    """An event listener.

    Attributes:
        id: 24 hex digits.
        notifier: ``http``, ``email`` or ``amqp``.
        config: configuration of the notifier, with its password unless passwords are hidden.
        event_types: entries as they were sent.
    """

    id: str
    notifier: str
    config: dict[str, Any]
    event_types: list[str]


class Listeners:
    """The event listeners of a server.

    Args:
        kit: the kit.
        passwords: encrypts passwords.
        types: all event types of this server.
        hide_passwords: return listeners without their passwords.
    """

    def __init__(self, kit: Kit, passwords: Passwords, types: tuple[str, ...], *, hide_passwords: bool = False) -> None:
        self._kit = kit
        self._passwords = passwords
        self._types = types
        self._hide_passwords = hide_passwords

    def create(self, body: Mapping[str, Any], *, require_config: bool, replace: bool) -> Listener:
        """Create a listener.

        Args:
            body: of the request.
            require_config: refuse a listener without ``notifier_config``.
            replace: change the first listener with the same notifier type and recipients instead, if there is one.

        Raises:
            PulpError: 400, a value is invalid.
            StoreError: the database cannot be used; nothing was stored.
        """
        event_types = self._checked_types(body.get("event_types"))
        notifier = body.get("notifier_type_id")
        if not isinstance(notifier, str) or notifier not in NOTIFIERS:
            raise invalid("notifier_type_id")
        config = body.get("notifier_config")
        if (config is None and require_config) or not isinstance(config, dict | None):
            raise invalid("notifier_config")
        listener = Listener(_ids.new(), notifier, _checked_config(notifier, config or {}), event_types)
        with self._kit.transaction() as transaction:
            connection = transaction.connection
            if replace and (found := self._same(connection, listener)) is not None:
                listener = Listener(found.id, notifier, listener.config, event_types)
                row = self._changed(connection, listener)
            else:
                row = {**self._row(listener), "id": listener.id, "created_at": datetime.now(UTC)}
                connection.execute(insert(listeners).values(row))
            self._subscribe(connection, listener.id, row)
            return self._listener(self._found(connection, listener.id))

    def all(self) -> list[Listener]:
        """Return all listeners in the order of their creation."""
        with self._kit.read() as connection:
            return [self._listener(row) for row in connection.execute(select(listeners).order_by(listeners.c.ref))]

    def check(self, id: str) -> None:
        """Check that there is a listener.

        Raises:
            PulpError: 404, there is none of this id.
        """
        with self._kit.read() as connection:
            self._found(connection, id)

    def get(self, id: str) -> Listener:
        """Return a listener.

        Raises:
            PulpError: 404, there is none of this id.
        """
        with self._kit.read() as connection:
            return self._listener(self._found(connection, id))

    def update(self, id: str, body: Mapping[str, Any]) -> Listener:
        """Merge the configuration of a listener, and replace its event types.

        Raises:
            PulpError: 404, there is no such listener; 400, a value is invalid; 500, its password was encrypted with
                another secret, and the body has no new one.
            StoreError: the database cannot be used; nothing was changed.
        """
        changes = body.get("notifier_config")
        with self._kit.transaction() as transaction:
            connection = transaction.connection
            before = self._found(connection, id, lock=True)
            event_types, config, password = before.event_types, before.notifier_config, before.password
            if body.get("event_types") is not None:
                event_types = self._checked_types(body["event_types"])
            if changes is not None:
                if not isinstance(changes, dict):
                    raise invalid("notifier_config")
                kept = {key: value for key, value in config.items() if key not in changes}
                config = kept | {key: value for key, value in changes.items() if value is not None}
                password = None if PASSWORD in changes else password
            notifier = before.notifier_type_id
            listener = Listener(id, notifier, _checked_config(notifier, config), event_types)
            self._subscribe(connection, id, self._changed(connection, listener, password))
            return self._listener(self._found(connection, id))

    def remove(self, id: str) -> None:
        """Remove a listener. Its waiting deliveries are discarded.

        Raises:
            PulpError: 404, there is none of this id.
        """
        with self._kit.transaction() as transaction:
            connection = transaction.connection
            if not _is_id(id) or not connection.execute(delete(listeners).where(listeners.c.id == id)).rowcount:
                raise missing(id)
            subscription_groups.remove_groups(connection, SOURCE, [id])

    def renew_types(self, connection: Connection, after: int, limit: int) -> int | None:
        """Give listeners of all types the types of this server.

        Returns:
            The ref to go on after; None: all are done.
        """
        query = select(listeners).where(listeners.c.ref > after).order_by(listeners.c.ref).limit(limit)
        rows = connection.execute(query.with_for_update()).all()
        for row in rows:
            if ANY in row.event_types:
                self._subscribe(connection, row.id, row._mapping)
        return rows[-1].ref if len(rows) == limit else None

    def _checked_types(self, event_types: Any) -> list[str]:
        """Return the event types of a request.

        Raises:
            PulpError: 400, they are not a list of this server's types and ``*``.
        """
        if not isinstance(event_types, list) or not 0 < len(event_types) <= MOST_TYPES:
            raise invalid("event_types")
        if not all(isinstance(each, str) and (each == ANY or each in self._types) for each in event_types):
            raise invalid("event_types")
        return event_types

    def _found(self, connection: Connection, id: str, *, lock: bool = False) -> Row[Any]:
        query = select(listeners).where(listeners.c.id == id)
        row = connection.execute(query.with_for_update() if lock else query).one_or_none() if _is_id(id) else None
        if row is None:
            raise missing(id)
        return row

    def _same(self, connection: Connection, listener: Listener) -> Row[Any] | None:
        """Return the first listener with the same recipients; transactions that look for it run one after the other."""
        same = recipient_hash(listener.notifier, listener.config)
        lock_name(connection, f"pulp {same}")
        query = select(listeners).where(listeners.c.recipient == same).order_by(listeners.c.ref).limit(1)
        return connection.execute(query.with_for_update()).one_or_none()

    def _row(self, listener: Listener, password: bytes | None = None) -> dict[str, Any]:
        """Return the columns of a listener; ``password`` is the encrypted one, if its configuration has none."""
        config = {key: value for key, value in listener.config.items() if key != PASSWORD}
        has_password = PASSWORD in listener.config
        return {
            "notifier_type_id": listener.notifier,
            "notifier_config": config,
            "password": self._passwords.encrypt(listener.config[PASSWORD]) if has_password else password,
            "event_types": listener.event_types,
            "recipient": recipient_hash(listener.notifier, listener.config),
        }

    def _listener(self, row: Row[Any]) -> Listener:
        config = dict(row.notifier_config)
        if row.password is not None and not self._hide_passwords:
            try:
                config[PASSWORD] = self._passwords.decrypt(row.password)
            except ValueError as error:
                reason = f"event listener {row.id}: {error}: set the former one, or PUT a new password"
                raise PulpError(500, "PLP0000", reason) from None
        return Listener(row.id, row.notifier_type_id, config, row.event_types)

    def _changed(self, connection: Connection, listener: Listener, password: bytes | None = None) -> dict[str, Any]:
        row = self._row(listener, password)
        connection.execute(update(listeners).where(listeners.c.id == listener.id).values(row))
        return row

    def _subscribe(self, connection: Connection, id: str, row: Mapping[Any, Any]) -> None:
        """Set the subscriptions of a listener. Its configuration is not checked before it is notified."""
        notifier, config, encrypted = row["notifier_type_id"], row["notifier_config"], row["password"]
        password = encrypted.decode() if encrypted else None
        targets = [
            subscription_groups.Target(notifier, stored_target(notifier, config, recipient, password))
            for recipient in recipients(notifier, config)
        ]
        patterns = expand(row["event_types"], self._types)
        subscription_groups.set_targets(connection, _ANY_TARGET, SOURCE, id, targets, patterns=patterns)


def _checked_config(notifier: str, config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration.

    Raises:
        PulpError: 400, it has more recipients than a listener may have, or it is nested too deep.
    """
    if len(recipients(notifier, config)) > MOST_RECIPIENTS:
        raise invalid("notifier_config")
    try:
        orjson.dumps(config)
    except TypeError:  # after the reader's repairs, nothing else is left that cannot be written
        raise invalid("notifier_config") from None
    return config


class _AnyTarget:
    """Accepts every target, as Pulp does."""

    def check(self, sender: str, target: dict[str, Any]) -> dict[str, str]:
        return {}


_ANY_TARGET = _AnyTarget()
