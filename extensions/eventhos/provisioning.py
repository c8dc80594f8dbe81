"""Provisioning: systems, events, actions and contracts made or changed as the entries of a file say."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Table, or_, select

from extension_kit.protocol import Kit, SubscriptionError, batches, lock_name

from . import actions, contracts, event_rows, systems, tables
from .answers import EventhosError
from .encryption import Encryption
from .provision_changes import Change, Differences, action_fields, as_json, differences
from .provision_entries import Entry
from .settings import EventhosSettings

_TABLES: Mapping[str, Table] = {
    "systems": tables.systems,
    "events": tables.events,
    "actions": tables.actions,
    "contracts": tables.contracts,
}
_REFERENCES = {"system": "systems", "event": "events", "action": "actions"}
_COLUMNS = ("name", "operation", "description", "reply_to")


class Refused(ValueError):
    """An entry cannot be made or changed.

    Args:
        entry: of the file.
        reason: the reason, with the field.
    """

    def __init__(self, entry: Entry, reason: str) -> None:
        super().__init__(f"{entry.place}: {reason}")


def provision(
    connection: Connection, kit: Kit, settings: EventhosSettings, encryption: Encryption, entries: Sequence[Entry]
) -> list[Change]:
    """Make what the database does not have, and change what it has otherwise; nothing is deleted.

    Args:
        connection: of a transaction, which is rolled back on an exception.
        kit: its senders check subscriptions; it knows the events of this server.
        settings: those of the extension.
        encryption: of the requests of actions.
        entries: those of a file, in the order in which they can be made.

    Raises:
        Refused: an entry is refused, for the reasons of the management API.
    """
    lock_name(connection, "eventhos.provisioning")
    provisioning = _Provisioning(connection, kit, settings, encryption, entries)
    changes = []
    for entry in entries:
        try:
            changes.append(provisioning.settle(entry))
        except EventhosError as error:
            raise Refused(entry, error.message) from None
        except SubscriptionError as error:
            raise Refused(entry, f"identifier: {error}") from None
        except ValueError as error:  # of the decryption
            raise Refused(entry, str(error)) from None
    return changes


class _Provisioning:
    """The entries of a file, and the rows of their identifiers, which stay locked until the commit."""

    def __init__(
        self,
        connection: Connection,
        kit: Kit,
        settings: EventhosSettings,
        encryption: Encryption,
        entries: Sequence[Entry],
    ) -> None:
        self._connection = connection
        self._kit = kit
        self._settings = settings
        self._encryption = encryption
        self._rows: dict[tuple[str, str], Row[Any]] = {}
        self._made: dict[tuple[str, str], int] = {}
        for kind, table in _TABLES.items():
            named = {entry.identifier for entry in entries if entry.kind == kind}
            keys = [key for key, of in _REFERENCES.items() if of == kind]
            named.update(entry.sent[key] for entry in entries for key in keys if key in entry.sent)
            for batch in batches(sorted(named)):
                # Locked in one sequence, so that two transactions do not deadlock.
                query = (
                    select(table)
                    .where(table.c.identifier.in_(batch))
                    .order_by(table.c.id)
                    .with_for_update(key_share=True)
                )
                self._rows.update({(kind, row.identifier): row for row in connection.execute(query)})

    def settle(self, entry: Entry) -> Change:
        """Make or change the row of an entry, unless it is as the entry says.

        Raises:
            EventhosError: the entry is refused.
            SubscriptionError: its identifier is that of another contract or event.
            ValueError: the row was encrypted with other secrets.
        """
        references = {key: self._id(key, entry.sent[key]) for key in _REFERENCES if key in entry.sent}
        sent = {**entry.sent, **references}
        if "client" in sent:
            sent["client"] = self._client(sent["client"])
        row = self._rows.get((entry.kind, entry.identifier))
        if row is None:
            self._made[entry.kind, entry.identifier] = self._create(entry, sent)
            return Change(entry, is_new=True)
        if row.deleted:
            raise _refusal(
                f"identifier: the {entry.kind[:-1]} of this identifier was deleted, and is not made again: take the "
                "entry out of the file, or choose another identifier"
            )
        for key, id in references.items():
            if row._mapping[_TABLES[entry.kind].c[key]] != id:
                raise _refusal(f"{key}: it cannot be changed; choose another identifier for a new {entry.kind[:-1]}")
        own = {key: value for key, value in sent.items() if key not in references and key != "identifier"}
        return Change(entry, False, self._change(entry, row, sent if entry.kind == "actions" else own))

    def _create(self, entry: Entry, sent: Mapping[str, Any]) -> int:
        connection = self._connection
        if entry.kind == "systems":
            return systems.create(connection, self._settings, sent, with_suffix=False)
        if entry.kind == "events":
            return event_rows.create(connection, self._kit, sent, with_suffix=False)
        if entry.kind == "actions":
            return actions.create(connection, self._encryption, sent, entry.request, with_suffix=False)
        return contracts.create(connection, self._kit, sent, with_suffix=False)

    def _change(self, entry: Entry, row: Row[Any], sent: Mapping[str, Any]) -> Differences:
        if entry.kind == "actions":
            return self._change_action(entry, row, sent)
        columns = _TABLES[entry.kind].c
        before = {key: row._mapping[columns[key]] for key in sent}
        if before.get("client") is not None:
            of_system = select(tables.clients.c.client_id).where(tables.clients.c.id == before["client"])
            before["client"] = self._connection.execute(of_system).scalar_one()
        changed = {key: value for key, value in sent.items() if as_json(value) != as_json(before[key])}
        if changed and entry.kind == "systems":
            systems.change(self._connection, self._settings, row.id, changed)
        elif changed and entry.kind == "events":
            event_rows.change(self._connection, row.id, changed)
        elif changed:
            contracts.change(self._connection, row.id, changed)
        names = {key: entry.keys[key] for key in changed}
        return differences(
            {name: before[key] for key, name in names.items()},
            {name: changed[key] for key, name in names.items()},
            masked_names=self._settings.masked,
        )

    def _change_action(self, entry: Entry, row: Row[Any], sent: Mapping[str, Any]) -> Differences:
        kept = actions.kept(self._encryption, row)
        changed = actions.changed(kept, sent, entry.request)
        body = "body" if sent["members"] else "rawBody"
        columns = [key for key in _COLUMNS if key in sent]
        before = {entry.keys[key]: row._mapping[key] or "" for key in columns} | action_fields(kept, body)
        after = {entry.keys[key]: sent[key] for key in columns} | action_fields(changed, body)
        secrets = {f"headers.{name}" for request, _ in (kept, changed) for name in request["secretHeaders"]}
        fields = differences(before, after, {*secrets, "clientSecret"}, masked_names=self._settings.masked)
        if fields:
            actions.change(self._connection, self._encryption, row.id, sent, entry.request)
        return fields

    def _id(self, key: str, identifier: str) -> int:
        """Return the id of a row that an entry names by its identifier."""
        kind = _REFERENCES[key]
        if (made := self._made.get((kind, identifier))) is not None:
            return made
        row = self._rows.get((kind, identifier))
        if row is None or row.deleted:
            raise _refusal(f"{key}: there is no {key} {identifier}, neither in the file nor in the database")
        id: int = row.id
        return id

    def _client(self, name: str | None) -> str | None:
        """Return the ``client_id`` of a client, by that or by its identifier."""
        if not name:
            return None
        own = tables.clients.c
        query = select(own.client_id).where(or_(own.client_id == name, own.identifier == name), ~own.deleted)
        found = self._connection.execute(query.order_by(own.client_id != name).limit(2)).scalars().all()
        if not found:
            raise _refusal(f"client: there is no client {name}; POST /auth/client makes one")
        if len(found) > 1 and name not in found:
            raise _refusal(f"client: several clients have the identifier {name}; write the clientId of one")
        return str(found[0])


def _refusal(message: str) -> EventhosError:
    return EventhosError(400, 400000, message)
