"""Event log: accepted events and the executions of their contracts (eventhos, event log)."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, select

from .contracts import shown
from .encryption import Encryption
from .log_filter import Filter, Matching
from .log_pages import numbers_of_page
from .masking import masked
from .paging import Paging
from .settings import EventhosSettings
from .tables import ERROR, actions, contracts, events, executions, received, systems

_STOPPED: dict[str, Any] = {
    "status": "STOPPED",
    "statusText": "not called, because a contract before it failed",
    "headers": {},
    "body": {},
}
"""Response of executions that ``stopOnError`` has ended."""


class EventLog:
    """Reads the log.

    Args:
        encryption: decrypts requests and responses.
        settings: the keys to mask.
    """

    def __init__(self, encryption: Encryption, settings: EventhosSettings) -> None:
        self._encryption = encryption
        self._masked = settings.masked

    def page(self, connection: Connection, wanted: Filter, paging: Paging) -> dict[str, Any]:
        """Return the content of an answer with one page."""
        matching = Matching(connection, wanted)
        ids = numbers_of_page(matching, paging)
        found = {row.id: row for row in connection.execute(_LOG.where(received.c.id.in_(ids)))}
        rows = [found[id] for id in ids]
        states = self._states(connection, ids)
        items = [
            {
                "id": row.id,
                "systemId": row.system_id,
                "eventId": row.event_id,
                "systemName": row.system_name,
                "systemIdentifier": row.system_identifier,
                "eventName": row.event_name,
                "eventIdentifier": row.event_identifier,
                "eventDescription": row.event_description,
                "received_request": "",
                "receivedAt": row.received_at,
                "retryOfId": row.retry_of_id,
                "state": states.get(row.id, [None]),
            }
            for row in rows
        ]
        return paging.content(items, matching.all.size)

    def _states(self, connection: Connection, ids: list[int]) -> dict[int, list[str | None]]:
        """Return the states of the executions of events: null for those that have not ended."""
        found: dict[int, list[str | None]] = {}
        query = select(executions.c.received, executions.c.state, executions.c.aborted, executions.c.retried).where(
            executions.c.received.in_(ids)
        )
        for row in connection.execute(query.order_by(executions.c.order, executions.c.id)):
            state = "aborted" if row.aborted else "retried" if row.retried else row.state
            found.setdefault(row.received, []).append(state)
        return found

    def event(self, connection: Connection, id: int) -> dict[str, Any] | None:
        """Return an event with its request and its executions; None if it is not in the log."""
        row = connection.execute(_DETAIL.where(received.c.id == id)).first()
        if row is None:
            return None
        return {
            "receivedEvent": {
                "id": row.id,
                "received_at": row.received_at,
                "received_request": self._shown(row.request),
                "eventId": row.event_id,
                "eventIdentifier": row.event_identifier,
                "eventName": row.event_name,
                "eventOperation": row.event_operation,
                "eventDescription": row.event_description,
                "retryOfId": row.retry_of_id,
                "retryOfDetailId": row.retry_of_detail_id,
            },
            "executedEventContracts": [
                {
                    "detailId": each.id,
                    "state": each.state,
                    "attempts": int(each.retried),
                    "calls": each.attempts,
                    "isAborted": int(each.aborted),
                    "contractId": each.contract,
                    "contractIdentifier": each.contract_identifier,
                    "contractName": each.contract_name,
                    "actionId": each.action_id,
                    "actionIdentifier": each.action_identifier,
                    "actionName": each.action_name,
                    "actionOperation": each.action_operation,
                    "actionDescription": each.action_description,
                }
                for each in connection.execute(
                    _EXECUTIONS.where(executions.c.received == id).order_by(executions.c.order, executions.c.id)
                )
            ],
        }

    def execution(self, connection: Connection, id: int) -> dict[str, Any] | None:
        """Return an execution with its request and response; None if it is not in the log."""
        row = connection.execute(_EXECUTIONS.where(executions.c.id == id)).first()
        if row is None:
            return None
        contract = connection.execute(select(contracts).where(contracts.c.id == row.contract)).one()
        return {
            **shown(contract),
            "contract_id": row.contract,
            "contract_exc_detail_id": row.id,
            "received_event_id": row.received,
            "state": row.state,
            "attempts": int(row.retried),
            "calls": row.attempts,
            "is_aborted": int(row.aborted),
            "reply_from": row.reply_from,
            "reply_from_id": row.reply_from_id,
            "finished_at": row.ended_at,
            "seconds": row.seconds,
            "order": row.order,
            "request": self._shown(row.request),
            "response": _STOPPED if row.state == ERROR and row.response is None else self._shown(row.response),
        }

    def _shown(self, encrypted: bytes | None) -> Any:
        if encrypted is None:
            return {}
        try:
            return masked(self._encryption.decrypt(encrypted), self._masked)
        except ValueError as error:
            return {"unreadable": str(error)}


_retried = executions.alias()
_SHOWN: Mapping[str, Any] = {
    "id": received.c.id,
    "received_at": received.c.received_at,
    "event_id": events.c.id,
    "event_identifier": events.c.identifier,
    "event_name": events.c.name,
    "event_description": events.c.description,
    "retry_of_id": _retried.c.received,
}
_LOG = (
    select(
        *(column.label(name) for name, column in _SHOWN.items()),
        systems.c.id.label("system_id"),
        systems.c.name.label("system_name"),
        systems.c.identifier.label("system_identifier"),
    )
    .select_from(received)
    .outerjoin(_retried, _retried.c.id == received.c.retry_of)
    .join(events, events.c.id == received.c.event)
    .join(systems, systems.c.id == events.c.system)
)
_DETAIL = (
    select(
        *(column.label(name) for name, column in _SHOWN.items()),
        events.c.operation.label("event_operation"),
        received.c.request,
        _retried.c.id.label("retry_of_detail_id"),
    )
    .select_from(received)
    .outerjoin(_retried, _retried.c.id == received.c.retry_of)
    .join(events, events.c.id == received.c.event)
)
_cause, _caused_by, _origin = executions.alias(), received.alias(), events.alias()
_EXECUTIONS = (
    select(
        executions,
        contracts.c.identifier.label("contract_identifier"),
        contracts.c.name.label("contract_name"),
        actions.c.id.label("action_id"),
        actions.c.identifier.label("action_identifier"),
        actions.c.name.label("action_name"),
        actions.c.operation.label("action_operation"),
        actions.c.description.label("action_description"),
        _caused_by.c.id.label("reply_from_id"),
        _origin.c.identifier.label("reply_from"),
    )
    .select_from(executions)
    .join(contracts, contracts.c.id == executions.c.contract)
    .join(actions, actions.c.id == contracts.c.action)
    .join(received, received.c.id == executions.c.received)
    .outerjoin(_cause, _cause.c.id == received.c.cause)
    .outerjoin(_caused_by, _caused_by.c.id == _cause.c.received)
    .outerjoin(_origin, _origin.c.id == _caused_by.c.event)
)
