"""Operations of the API: path, caller, parameters, body and answer of each, in the groups of the document."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from .answers import READ, WRITTEN


@dataclass(frozen=True)
class Operation:
    """An operation of the API.

    Attributes:
        method: the HTTP method, in lower case.
        path: with parameters in braces.
        summary: one line for the document.
        permission: needed by the caller; None: callers need no token.
        query: the names of its query parameters.
        body: the component of its body; None: it has none.
        content: the component of the answer's content; None: the answer has none.
        may_lack_content: True if some answers have no content.
        codes: eventhos's codes by the HTTP status of a success.
        errors: error statuses beside those that its body, caller and path bring about.
        has_key: True if an access key is needed.
    """

    method: str
    path: str
    summary: str
    permission: str | None = None
    query: tuple[str, ...] = ()
    body: str | None = None
    content: str | None = None
    may_lack_content: bool = False
    codes: Mapping[int, tuple[int, ...]] = field(default_factory=lambda: {200: (READ,)})
    errors: tuple[int, ...] = ()
    has_key: bool = False

    @property
    def statuses(self) -> frozenset[int]:
        """All error statuses."""
        found = {*self.errors, 503}
        if self.permission is not None or self.has_key:
            found |= {401, 403}
        if self.body is not None:
            found |= {400, 413}
        if "{" in self.path:
            found.add(404)
        return frozenset(found)


_PAGE = ("itemsPerPage", "pageIndex", "order", "activeSort")
_WRITTEN: Mapping[int, tuple[int, ...]] = MappingProxyType({201: (WRITTEN,)})


def _read(
    path: str, summary: str, permission: str, content: str, query: tuple[str, ...] = (), errors: tuple[int, ...] = ()
) -> Operation:
    return Operation("get", path, summary, permission, query, content=content, errors=errors)


def _write(
    method: str,
    path: str,
    summary: str,
    permission: str | None,
    body: str | None = None,
    content: str | None = None,
    errors: tuple[int, ...] = (),
) -> Operation:
    return Operation(method, path, summary, permission, body=body, content=content, codes=_WRITTEN, errors=errors)


_SEND = Operation(
    "post",
    "/event/send",
    "Send an event",
    query=("event-identifier",),
    body="AnyValue",
    codes={200: (20000, 200000, 200310), 203: (200310,)},
    errors=(404,),
    has_key=True,
)
_SENDING = (
    _SEND,
    replace(
        _SEND,
        path="/event/send/contract",
        summary="Send the event of a failed contract to this contract again, once",
        body="ContractDetail",
        codes={200: (20000, 200000)},
    ),
    replace(
        _SEND,
        path="/event/retry/aborted",
        summary="Mark a failed contract of an event as not to be retried",
        permission="event:retry-aborted",
        body="ContractDetail",
        codes={200: (READ,)},
    ),
)
_LOG_QUERY = (
    "systemId",
    "fromTime",
    "toTime",
    "state",
    "idSearch",
    "eventIdentifierSearch",
    "itemsPerPage",
    "pageIndex",
    "order",
)
_EXECUTION = _read(
    "/event/received/execution-detail/{id}", "Get an execution of a contract", "event:select", "Execution"
)
_LOG = (
    _read("/event/received", "List the event log", "event:select", "ReceivedEvents", _LOG_QUERY, (400,)),
    _read("/event/received/{id}", "Get an event of the log", "event:select", "ReceivedEvent"),
    _EXECUTION,
    replace(_EXECUTION, path="/received/execution-detail/{id}"),
)
_EVENTS = (
    _write("post", "/event", "Create an event", "event:create", "NewEvent", "EventId", (404,)),
    _read("/event", "List events", "event:select", "Events", ("systemId", "eventName", *_PAGE), (400,)),
    _write("put", "/event/{id}", "Change an event", "event:update", "EventChange"),
    _write("delete", "/event/{id}", "Delete an event that has no contracts", "event:delete", errors=(400,)),
)
_CREATE_SYSTEM = _write("post", "/system", "Create a system", "system:create", "NewSystem", "SystemId", (404,))
_SYSTEMS = (
    replace(_CREATE_SYSTEM, codes={201: (20001,)}),
    _read("/system", "List systems", "system:select", "Systems", ("systemClass", *_PAGE)),
    _read("/system/{id}", "Get a system", "system:select", "System"),
    _read("/system/{id}/events", "List the events of a system", "system:select", "EventsOfSystem"),
    _read("/system/{id}/actions", "List the actions of a system", "system:select", "ActionsOfSystem"),
    _write("put", "/system/{id}", "Change a system", "system:update", "SystemChange"),
    _write(
        "delete", "/system/{id}", "Delete a system that has no events and no actions", "system:delete", errors=(400,)
    ),
)
_ACTIONS = (
    _write("post", "/action", "Create an action", "action:create", "NewAction", "ActionId", (404,)),
    _read("/action", "List actions", "action:select", "Actions", ("wordSearch", *_PAGE)),
    _read("/action/{id}", "Get an action", "action:select", "Action"),
    _write("put", "/action/{id}", "Change an action, and its request as a whole", "action:update", "ActionChange"),
    _write("delete", "/action/{id}", "Delete an action that has no contracts", "action:delete"),
)
_CONTRACTS = (
    _write("post", "/contract", "Create a contract", "contract:create", "NewContract", "ActionId", (404,)),
    _read("/contract", "List contracts", "contract:select", "Contracts", ("wordSearch", *_PAGE)),
    _read("/contract/{id}", "Get a contract", "contract:select", "Contract"),
    _read("/contract/event/{event}", "List the contracts of an event", "contract:select", "ContractsOfEvent"),
    _read(
        "/contract/event/{event}/action/{action}",
        "List the contracts of an event with an action",
        "contract:select",
        "ContractsOfEvent",
    ),
    _write(
        "put", "/contract/order", "Change the orders of contracts", "contract:update", "ContractOrders", errors=(404,)
    ),
    _write("put", "/contract/{id}", "Change a contract", "contract:update", "ContractChange"),
    _write("delete", "/contract/{id}", "Delete a contract", "contract:delete"),
)
_NEW_CLIENT = _write(
    "post", "/auth/client", "Create a client", "OAUTH2_client:create", "NewClient", "CreatedClient", (404,)
)
_LONG_LIVE = _write(
    "put",
    "/auth/client/{id}/long-live",
    "Make a further key of a client, or revoke all",
    "OAUTH2_client:update",
    "LongLive",
    "AccessToken",
)
_CLIENTS = (
    _write("post", "/auth/login", "Log in as the administrator", None, "Login", "LoggedIn", (401,)),
    _write("post", "/auth/token", "Get a token for credentials", None, "Grant", "Token", (401, 403, 404)),
    _read("/auth/role", "List the roles", "OAUTH2_role:select", "Roles"),
    replace(_NEW_CLIENT, query=("longLive",)),
    _read("/auth/client", "List clients", "OAUTH2_client:select", "Clients", _PAGE),
    _read("/auth/client/{id}", "Get a client", "OAUTH2_client:select", "Client"),
    _read("/auth/client/{id}/secret", "Get the secret of a client", "OAUTH2_client:select", "ClientSecret"),
    _write("put", "/auth/client/{id}", "Change a client", "OAUTH2_client:update", "ClientChange"),
    replace(_LONG_LIVE, may_lack_content=True),
    _write(
        "put", "/auth/client/{id}/revoke", "Revoke a client, or admit it again", "OAUTH2_client:update", "Revocation"
    ),
    _read("/auth/client/{id}/keys", "List the keys of a client", "OAUTH2_client:select", "Keys", _PAGE),
    _write("delete", "/auth/client/{id}/keys/{key_id}", "Revoke a key", "OAUTH2_client:update"),
    _write("delete", "/auth/client/{id}", "Delete a client", "OAUTH2_client:delete"),
)

OPERATIONS: Mapping[str, tuple[Operation, ...]] = MappingProxyType(
    {
        "sending": _SENDING,
        "log": _LOG,
        "events": _EVENTS,
        "systems": _SYSTEMS,
        "actions": _ACTIONS,
        "contracts": _CONTRACTS,
        "clients": _CLIENTS,
    }
)
"""The operations by group."""
