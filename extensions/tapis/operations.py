"""Operations of the API: path, parameters, body and answers of each (Tapis Notifications, live docs).

Their ids are Tapis's own, so that clients generated from the document are like those of Tapis.
"""

from dataclasses import dataclass
from types import MappingProxyType

from marshmallow import Schema

from .schemas import (
    Event,
    EventSeries,
    Notification,
    ReqPatchSubscription,
    ReqPostSubscription,
    ReqSearchSubscriptions,
)

BASE = "/v3/notifications"


@dataclass(frozen=True)
class Operation:
    """An operation of the API.

    Attributes:
        id: its name in generated clients.
        method: the HTTP method, in lower case.
        path: the path behind ``BASE``, with parameters in braces.
        summary: one line for the document.
        tag: its group in the document.
        query: the names of its query parameters.
        body: the schema of its body.
        status: the status of success.
        result: the component of the answer's result.
        errors: error statuses beside 400, 401 and 500.
        needs_token: False if callers need no token.
        deprecated: True if clients should use another operation.
    """

    id: str
    method: str
    path: str
    summary: str
    tag: str
    query: tuple[str, ...] = ()
    body: type[Schema] | None = None
    status: int = 200
    result: str = "RespBasic"
    errors: tuple[int, ...] = ()
    needs_token: bool = True
    deprecated: bool = False


_LIST = ("limit", "orderBy", "skip", "startAfter", "computeTotal", "select", "ownedBy", "anyOwner")


def _subscription(
    id: str,
    method: str,
    path: str,
    summary: str,
    result: str,
    query: tuple[str, ...] = ("ownedBy",),
    *,
    body: type[Schema] | None = None,
    status: int = 200,
    errors: tuple[int, ...] = (),
) -> Operation:
    where = f"/subscriptions{path}"
    return Operation(id, method, where, summary, "Subscriptions", query, body, status, result, errors)


_LISTED, _ONE, _CHANGED, _URL = "RespSubscriptions", "RespSubscription", "RespChangeCount", "RespResourceUrl"

_SUBSCRIPTIONS = (
    _subscription("getSubscriptions", "get", "", "List subscriptions", _LISTED, ("search", *_LIST)),
    _subscription(
        "postSubscription",
        "post",
        "",
        "Make a subscription; services only",
        _URL,
        (),
        body=ReqPostSubscription,
        status=201,
        errors=(409,),
    ),
    _subscription(
        "searchSubscriptionsQueryParameters",
        "get",
        "/search",
        "List subscriptions that meet conditions",
        _LISTED,
        ("conditions", *_LIST),
    ),
    _subscription(
        "searchSubscriptionsRequestBody",
        "post",
        "/search",
        "List subscriptions that meet a condition",
        _LISTED,
        _LIST,
        body=ReqSearchSubscriptions,
    ),
    _subscription(
        "getSubscriptionByName", "get", "/byName/{name}", "Get one", _ONE, ("select", "ownedBy"), errors=(404,)
    ),
    _subscription(
        "patchSubscriptionByName",
        "patch",
        "/byName/{name}",
        "Change one",
        _URL,
        body=ReqPatchSubscription,
        errors=(404,),
    ),
    _subscription("deleteSubscriptionByName", "delete", "/byName/{name}", "Remove one", _CHANGED),
    _subscription("getSubscriptionByUuid", "get", "/byUuid/{uuid}", "Get one", _ONE, ("select",), errors=(404,)),
    _subscription("deleteSubscriptionByUuid", "delete", "/byUuid/{uuid}", "Remove one", _CHANGED, ()),
    _subscription(
        "deleteSubscriptionsBySubject",
        "delete",
        "/bySubject/{subject}",
        "Remove those of a subject",
        _CHANGED,
        ("ownedBy", "anyOwner"),
    ),
    _subscription("isEnabled", "get", "/{name}/isEnabled", "Tell if it gets events", "RespBoolean", errors=(404,)),
    _subscription("enableSubscription", "post", "/{name}/enable", "Let it get events", _CHANGED, errors=(404,)),
    _subscription("disableSubscription", "post", "/{name}/disable", "Let it get no events", _CHANGED, errors=(404,)),
    _subscription(
        "updateTTL", "post", "/{name}/updateTTL/{ttlMinutes}", "Set its time to live", _CHANGED, errors=(404,)
    ),
)

_EVENTS = (
    Operation(
        "publishEvent",
        "post",
        "/events/publish",
        "Publish an event; services only",
        "Events",
        ("tenant",),
        body=Event,
    ),
    Operation(
        "postEvent",
        "post",
        "/events",
        "The same as publishEvent",
        "Events",
        ("tenant",),
        body=Event,
        deprecated=True,
    ),
    Operation(
        "endEventSeries",
        "post",
        "/events/endSeries",
        "End a series; services only",
        "Events",
        ("tenant",),
        body=EventSeries,
        result=_CHANGED,
    ),
)

_TESTS = (
    Operation(
        "beginTestSequence",
        "post",
        "/test/begin",
        "Begin a test sequence; services only",
        "Test",
        query=("subscriptionTTL", "numberOfEvents", "endSeries"),
        result=_ONE,
    ),
    Operation(
        "getTestSequence",
        "get",
        "/test/{name}",
        "Get the results of a test sequence",
        "Test",
        result="RespTestSequence",
        errors=(404,),
    ),
    Operation(
        "deleteTestSequence",
        "delete",
        "/test/{name}",
        "Remove a test sequence; services only",
        "Test",
        result=_CHANGED,
    ),
    Operation(
        "recordTestNotification",
        "post",
        "/test/callback/{name}",
        "Receive a test notification",
        "Test",
        body=Notification,
        needs_token=False,
    ),
)

_GENERAL = (
    Operation("healthCheck", "get", "/healthcheck", "Check that the service is alive", "General", needs_token=False),
    Operation(
        "readyCheck",
        "get",
        "/readycheck",
        "Check that the service can do its work",
        "General",
        errors=(503,),
        needs_token=False,
    ),
)

OPERATIONS = MappingProxyType({each.id: each for each in (*_GENERAL, *_SUBSCRIPTIONS, *_EVENTS, *_TESTS)})
"""All operations by id."""
