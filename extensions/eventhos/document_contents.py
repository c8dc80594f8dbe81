"""Schemas of the contents of answers in the OpenAPI document."""

from typing import Any

from .tables import CLASSES, ERROR, PROCESSED

Document = dict[str, Any]

_TEXT: Document = {"type": "string"}
_TEXT_OR_NULL: Document = {"type": ["string", "null"]}
_WHOLE: Document = {"type": "integer"}
_WHOLE_OR_NULL: Document = {"type": ["integer", "null"]}
_FLAG: Document = {"type": "boolean"}
_ZERO_OR_ONE: Document = {"enum": [0, 1]}
_TIME: Document = {"type": "string", "format": "date-time"}
_TIME_OR_NULL: Document = {"type": ["string", "null"], "format": "date-time"}
_OBJECT: Document = {"type": "object"}
_TEXTS: Document = {"type": "object", "additionalProperties": _TEXT}
_STATE: Document = {"enum": [PROCESSED, ERROR, None], "description": "null: it has not ended"}


def exactly(properties: dict[str, Document], *optional: str) -> Document:
    """Return the schema of an object with these keys and no others.

    Args:
        properties: schemas by key.
        optional: the keys that may be missing.
    """
    required = [name for name in properties if name not in optional]
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False}


def _list_of(name: str) -> Document:
    return {"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}}


def _page_of(name: str) -> Document:
    numbers = dict.fromkeys(("pageIndex", "itemsPerPage", "totalItems", "totalPages"), _WHOLE)
    return exactly({"items": _list_of(name), **numbers})


_NAMED: dict[str, Document] = {"id": _WHOLE, "identifier": _TEXT, "name": _TEXT}
_TIMES: dict[str, Document] = {"created_at": _TIME, "updated_at": _TIME}
_ROW: dict[str, Document] = {"deleted": _ZERO_OR_ONE, **_TIMES}
_EVENT: dict[str, Document] = {
    **_NAMED,
    "system_id": _WHOLE,
    "operation": _TEXT,
    "description": _TEXT,
    **_ROW,
}
_ACTION: dict[str, Document] = {
    **_NAMED,
    "httpConfiguration": exactly(
        {
            "url": _TEXT,
            "method": _TEXT,
            "headers": {**_TEXTS, "description": "Secret values are shown as `****`"},
            "data": {"description": "Template of the body; without members, the event's body is passed on"},
            "params": _TEXTS,
            "bodyExpression": _TEXT,
            "secretHeaders": {"type": "array", "items": _TEXT},
        },
        "bodyExpression",
        "secretHeaders",
    ),
    "operation": _TEXT,
    "description": _TEXT,
    **_TIMES,
    "deleted": _FLAG,
    "reply_to": _TEXT_OR_NULL,
    "security": exactly({"type": {"enum": ["custom", "oauth2_client"]}, "httpConfiguration": _OBJECT}),
}
_CONTRACT: dict[str, Document] = {
    **_NAMED,
    "active": _ZERO_OR_ONE,
    "order": _WHOLE,
    "eventId": _WHOLE,
    "actionId": _WHOLE,
    "producerName": _TEXT,
    "consumerName": _TEXT,
    "eventIdentifier": _TEXT,
    "actionIdentifier": _TEXT,
    "mailRecipientsOnError": _TEXT,
    "stopOnError": _FLAG,
    "inOrder": _FLAG,
    "retrySchedule": {"type": ["array", "null"], "items": {"type": "number"}},
}
_RETRY_OF: Document = {**_WHOLE_OR_NULL, "description": "The entry of the log that this one retries; null for others"}
_RECEIVED: dict[str, Document] = {
    "id": _WHOLE,
    "systemId": _WHOLE,
    "eventId": _WHOLE,
    "systemName": _TEXT,
    "systemIdentifier": _TEXT,
    "eventName": _TEXT,
    "eventIdentifier": _TEXT,
    "eventDescription": _TEXT,
    "received_request": {**_TEXT, "description": "Empty; the event itself has it"},
    "receivedAt": _TIME,
    "retryOfId": _RETRY_OF,
    "state": {
        "type": "array",
        "items": {"enum": [PROCESSED, ERROR, "aborted", "retried", None]},
        "description": "States of the contracts; null: it has not ended, or there is no contract",
    },
}
_REQUEST: Document = {**_OBJECT, "description": "headers, query, body, method and url, without keys"}
_RECEIVED_EVENT: dict[str, Document] = {
    "receivedEvent": exactly(
        {
            "id": _WHOLE,
            "received_at": _TIME,
            "received_request": _REQUEST,
            "eventId": _WHOLE,
            "eventIdentifier": _TEXT,
            "eventName": _TEXT,
            "eventOperation": _TEXT,
            "eventDescription": _TEXT,
            "retryOfId": _RETRY_OF,
            "retryOfDetailId": {**_WHOLE_OR_NULL, "description": "The execution that was retried"},
        }
    ),
    "executedEventContracts": {
        "type": "array",
        "items": exactly(
            {
                "detailId": _WHOLE,
                "state": _STATE,
                "attempts": {**_ZERO_OR_ONE, "description": "0: not retried; 1: retried, by an entry of its own"},
                "calls": {**_WHOLE, "description": "Calls of the action that were made"},
                "isAborted": _ZERO_OR_ONE,
                "contractId": _WHOLE,
                "contractIdentifier": _TEXT,
                "contractName": _TEXT,
                "actionId": _WHOLE,
                "actionIdentifier": _TEXT,
                "actionName": _TEXT,
                "actionOperation": _TEXT,
                "actionDescription": _TEXT,
            }
        ),
    },
}
_CONTRACT_ROW: dict[str, Document] = {
    **_NAMED,
    "event_id": _WHOLE,
    "action_id": _WHOLE,
    "active": _ZERO_OR_ONE,
    "order": _WHOLE,
    "mail_recipients_on_error": _TEXT,
    **_ROW,
}
_EXECUTION: dict[str, Document] = {
    **_CONTRACT_ROW,
    "id": {**_WHOLE, "description": "Number of the contract"},
    "contract_id": _WHOLE,
    "contract_exc_detail_id": _WHOLE,
    "received_event_id": _WHOLE,
    "state": _STATE,
    "attempts": {**_ZERO_OR_ONE, "description": "0: not retried; 1: retried, by an entry of its own"},
    "calls": {**_WHOLE, "description": "Calls of the action that were made"},
    "is_aborted": _ZERO_OR_ONE,
    "reply_from": {**_TEXT_OR_NULL, "description": "Identifier of the event whose answer the event is"},
    "reply_from_id": _WHOLE_OR_NULL,
    "finished_at": _TIME_OR_NULL,
    "seconds": {"type": ["number", "null"]},
    "request": {**_OBJECT, "description": "As it was sent; empty before"},
    "response": {**_OBJECT, "description": "headers, body, status and statusText; empty before it came"},
}
_ROLES: Document = {"type": "array", "items": exactly({"id": _WHOLE, "identifier": _TEXT})}
_CLIENT: dict[str, Document] = {
    **_NAMED,
    "clientId": _TEXT,
    "description": _TEXT,
    "revoked": _FLAG,
    "longLive": _FLAG,
    "roles": _ROLES,
    **_TIMES,
}

CONTENTS: dict[str, Document] = {
    "ReceivedEventRow": exactly(_RECEIVED),
    "ReceivedEvents": _page_of("ReceivedEventRow"),
    "ReceivedEvent": exactly(_RECEIVED_EVENT),
    "Execution": exactly(_EXECUTION),
    "EventId": exactly({"eventId": _WHOLE}),
    "Event": exactly(_EVENT),
    "Events": _page_of("Event"),
    "EventsOfSystem": _list_of("Event"),
    "SystemId": exactly({"systemId": _WHOLE}),
    "System": exactly(
        {
            **_NAMED,
            "class": {"enum": list(CLASSES)},
            "type": _TEXT,
            "description": _TEXT,
            "client_id": _WHOLE_OR_NULL,
            **_ROW,
        }
    ),
    "Systems": _page_of("System"),
    "ActionId": {**exactly({"actionId": _WHOLE}), "description": "Of the new action, or of the new contract"},
    "Action": exactly(_ACTION),
    "ActionOfSystem": exactly(_EVENT),
    "ActionsOfSystem": _list_of("ActionOfSystem"),
    "ListedAction": exactly(
        {
            **_EVENT,
            "http_configuration": {**_TEXT, "description": "Empty; the action itself has it"},
            "reply_to": _TEXT_OR_NULL,
            "system_name": _TEXT,
        }
    ),
    "Actions": _page_of("ListedAction"),
    "Contract": exactly(_CONTRACT),
    "Contracts": _page_of("Contract"),
    "ContractOfEvent": exactly(_CONTRACT_ROW),
    "ContractsOfEvent": _list_of("ContractOfEvent"),
    "LoggedIn": exactly({"jwt_token": _TEXT, "username": _TEXT, "name": _TEXT, "userId": _WHOLE, "roles": _ROLES}),
    "Token": exactly(
        {
            "jwt_token": _TEXT,
            "name": _TEXT,
            "description": _TEXT,
            "client_id": _WHOLE,
            "identifier": _TEXT,
            "roles": _ROLES,
        }
    ),
    "Role": exactly({"id": _WHOLE, "identifier": _TEXT, "permissions": {"type": "array", "items": _TEXT}}),
    "Roles": _page_of("Role"),
    "CreatedClient": exactly(
        {
            "id": _WHOLE,
            "clientId": _TEXT,
            "clientSecret": _TEXT,
            "access_token": {**_TEXT, "description": "A key; it cannot be read again"},
        },
        "access_token",
    ),
    "Client": exactly(_CLIENT),
    "Clients": _page_of("Client"),
    "ClientSecret": exactly({"client_secret": _TEXT}),
    "AccessToken": exactly({"access_token": {**_TEXT, "description": "The key; it cannot be read again"}}),
    "Key": exactly({"id": _WHOLE, "created_at": _TIME, "expires_at": _TIME_OR_NULL, "revoked_at": _TIME_OR_NULL}),
    "Keys": _page_of("Key"),
}
"""Schemas by component."""
