"""Actions: requests to other systems (eventhos, management API: /action)."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Row, Select, select

from . import rows, systems
from .action_requests import make_security, shown_request, shown_security, with_secrets
from .answers import EventhosError
from .encryption import Encryption
from .tables import actions, contracts
from .tables import systems as systems_table

Kept = tuple[dict[str, Any], dict[str, str] | None]
"""Request and security of an action as they are kept."""

_COLUMNS = ("system", "identifier", "name", "operation", "description", "reply_to")

_LISTED = (
    select(actions, systems_table.c.name.label("system_name"))
    .join(systems_table, systems_table.c.id == actions.c.system)
    .where(~actions.c.deleted)
)


def create(
    connection: Connection,
    encryption: Encryption,
    sent: Mapping[str, Any],
    request: Mapping[str, Any],
    *,
    with_suffix: bool = True,
) -> int:
    """Add an action and return its id.

    Args:
        connection: of a transaction.
        encryption: of the request and the security.
        sent: a loaded ``NewAction``.
        request: made of it by ``make_request``.
        with_suffix: True to make the identifier unique by a random suffix.

    Raises:
        EventhosError: a secret is missing, the identifier is taken, or the system is unknown or a producer.
    """
    values = _values(encryption, sent, with_secrets(request, None), make_security(sent, None))
    systems.lock_of_class(connection, sent["system"], "consumer")
    rows.refuse_taken(connection, actions, sent["identifier"])
    id, _ = rows.add(connection, actions, values.pop("identifier"), values, with_suffix=with_suffix)
    return id


def change(
    connection: Connection, encryption: Encryption, id: int, sent: Mapping[str, Any], request: Mapping[str, Any]
) -> None:
    """Change an action, and its request as a whole.

    Args:
        connection: of a transaction.
        encryption: of the request and the security.
        id: of the action.
        sent: a loaded ``ActionChange``.
        request: made of it by ``make_request``.

    Raises:
        EventhosError: it is unknown, or a secret is missing.
    """
    row = rows.find(connection, actions, id, lock=True)
    made, security = changed(kept(encryption, row), sent, request)
    rows.change(connection, actions, id, _values(encryption, sent, made, security))


def delete(connection: Connection, id: int) -> None:
    """Delete an action.

    Raises:
        EventhosError: it is unknown, or has contracts.
    """
    rows.find(connection, actions, id, lock=True)
    if rows.has_any(connection, contracts.c.action == id, ~contracts.c.deleted):
        raise EventhosError(404, 400003, "Action has active contracts")
    rows.delete(connection, actions, id)


def search(word: str) -> Select[Any]:
    """Return the query of the actions whose name or identifier contains a text; an empty one is in all of them."""
    return _LISTED.where(rows.contains(word, actions.c.name, actions.c.identifier)) if word else _LISTED


def listed(row: Row[Any]) -> dict[str, Any]:
    """Return a row of ``search`` as lists show it."""
    more = {"http_configuration": "", "reply_to": row.reply_to, "system_name": row.system_name}
    return {**rows.shown(row), **more}


def shown(encryption: Encryption, row: Row[Any]) -> dict[str, Any]:
    """Return an action with its request and its security, but without secrets."""
    request, security = kept(encryption, row)
    return {
        "id": row.id,
        "identifier": row.identifier,
        "name": row.name,
        "httpConfiguration": shown_request(request),
        "operation": row.operation,
        "description": row.description,
        **rows.shown_state(row),
        "deleted": row.deleted,
        "reply_to": row.reply_to,
        "security": shown_security(security),
    }


def kept(encryption: Encryption, row: Row[Any]) -> Kept:
    """Return the request and the security of an action, with their secrets.

    Raises:
        ValueError: they were encrypted with other secrets.
    """
    return encryption.decrypt(row.request), None if row.security is None else encryption.decrypt(row.security)


def changed(before: Kept, sent: Mapping[str, Any], request: Mapping[str, Any]) -> Kept:
    """Return the request and the security of an action after a change.

    Args:
        before: those before it.
        sent: a loaded ``ActionChange``.
        request: made of it by ``make_request``.

    Raises:
        EventhosError: 400, a secret is missing.
    """
    request_before, security_before = before
    return with_secrets(request, request_before), make_security(sent, security_before)


def _values(
    encryption: Encryption,
    sent: Mapping[str, Any],
    request: Mapping[str, Any],
    security: Mapping[str, str] | None,
) -> dict[str, Any]:
    """Return the columns of an action."""
    values = {key: value for key, value in sent.items() if key in _COLUMNS}
    if "reply_to" in values:
        values["reply_to"] = values["reply_to"] or None
    values["request"] = encryption.encrypt(request)
    values["security"] = None if security is None else encryption.encrypt(security)
    return values
