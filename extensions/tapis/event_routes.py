"""The routes of events (Tapis Notifications, live docs: Events)."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from flask import Response

from extension_kit.protocol import GroupedRoute, ReceivedRequest, RouteAnswer, Transaction

from .api import Api
from .envelope import ApiError, bad_request, route_refusal, route_success, success
from .events import SentEvent
from .events import publish_all as publish
from .schemas import Event, EventSeries
from .series import end_series, series_key
from .tokens import Caller, UnauthorizedError

# RFC 9745: postEvent is deprecated since the day of Tapis Notifications 1.6.2. RFC 8288: the link to its successor.
_DEPRECATION = (("Deprecation", "@1710374400"), ("Link", '</v3/notifications/events/publish>; rel="successor-version"'))


def add_event_routes(api: Api) -> tuple[GroupedRoute[Any], ...]:
    """Add the routes of events to the blueprint of the API, and return those that are written in groups."""
    series_schema = EventSeries()

    def end_event_series() -> Response:
        caller = api.caller()
        tenant = _tenant(api, caller, api.query)
        wanted = api.body(series_schema)
        key = series_key(tenant, wanted["source"], wanted["subject"], wanted["series_id"])
        changes = 0
        if key is not None:
            with api.kit.transaction() as transaction:
                changes = end_series(transaction.connection, key)
        return success("NTFAPI_EVENT_ENDSERIES", "Event series ended.", caller, {"changes": changes})

    api.route("endEventSeries", end_event_series)
    return _Publishing(api).route("publishEvent"), _Publishing(api, _DEPRECATION).route("postEvent")


class _Item(NamedTuple):
    """An event, and the answer to its request once it is committed."""

    sent: SentEvent
    answer: RouteAnswer


class _Publishing:
    """Accepts events: each is read outside of a transaction, and written in one with those that came beside it.

    Args:
        api: the parts that routes share.
        headers: of the answers to events that were accepted.
    """

    def __init__(self, api: Api, headers: tuple[tuple[str, str], ...] = ()) -> None:
        self._api = api
        self._headers = headers
        self._schema = Event()

    def route(self, operation_id: str) -> GroupedRoute[_Item]:
        """Make the route of an operation."""
        return self._api.grouped_route(operation_id, self._parse, self._write, self._admit)

    def _parse(self, request: ReceivedRequest) -> _Item | RouteAnswer:
        try:
            caller, tenant = self._sender(request)
            event = self._api.received_body(request, self._schema)
            service = event["type"].partition(".")[0]
            if service != caller.jwt_user:
                message = f"events of {service} are not published by {caller.jwt_user}"
                raise bad_request(message, "NTFLIB_EVENT_SVC_NOMATCH")
        except (ApiError, UnauthorizedError) as error:
            return route_refusal(error)
        answer = route_success("NTFAPI_EVENT_POSTED", "Event published.", caller, self._headers)
        return _Item(SentEvent(event, tenant, caller.user, request.trace_context), answer)

    def _write(self, transaction: Transaction, items: Sequence[_Item]) -> list[RouteAnswer | Exception]:
        publish(transaction, self._api.kit, self._api.settings, [item.sent for item in items])
        return [item.answer for item in items]

    def _admit(self, request: ReceivedRequest) -> RouteAnswer | None:
        """Refuse a caller, or let it have the answer to its body, which could not be read."""
        try:
            self._sender(request)
        except (ApiError, UnauthorizedError) as error:
            return route_refusal(error)
        return None

    def _sender(self, request: ReceivedRequest) -> tuple[Caller, str]:
        caller = self._api.received_caller(request)
        return caller, _tenant(self._api, caller, partial(self._api.received_query, request))


def _tenant(api: Api, caller: Caller, read_query: Callable[[], Mapping[str, str]]) -> str:
    """Return the tenant of an event: that of the query, by default that of the user the service acts for."""
    api.access.require_service(caller, "NTFLIB_EVENT_UNAUTH", "may publish events")
    tenant = read_query().get("tenant", "").strip() or caller.tenant
    if not api.authenticator.may_act_for(caller, tenant):
        raise ApiError(401, "NTFLIB_EVENT_UNAUTH", f"the service may not act for the tenant {tenant:.60} {caller}")
    return tenant
