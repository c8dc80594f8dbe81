"""The routes of events (Tapis Notifications, live docs: Events)."""

from flask import Response

from .api import Api
from .envelope import ApiError, bad_request, success
from .events import publish
from .schemas import Event, EventSeries
from .series import end_series, series_key
from .tokens import Caller

# RFC 9745: postEvent is deprecated since the day of Tapis Notifications 1.6.2. RFC 8288: the link to its successor.
_DEPRECATION = {"Deprecation": "@1710374400", "Link": '</v3/notifications/events/publish>; rel="successor-version"'}


def add_event_routes(api: Api) -> None:
    """Add the routes of events to the blueprint of the API."""
    event_schema, series_schema = Event(), EventSeries()

    def publish_event() -> Response:
        caller = api.caller()
        tenant = _tenant(api, caller)
        event = api.body(event_schema)
        service = event["type"].partition(".")[0]
        if service != caller.jwt_user:
            raise bad_request(f"events of {service} are not published by {caller.jwt_user}", "NTFLIB_EVENT_SVC_NOMATCH")
        with api.host.transaction() as transaction:
            publish(transaction, api.host, api.settings, event, tenant=tenant, user=caller.user)
        return success("NTFAPI_EVENT_POSTED", "Event published.", caller)

    def post_event() -> Response:
        response = publish_event()
        response.headers.update(_DEPRECATION)
        return response

    def end_event_series() -> Response:
        caller = api.caller()
        tenant = _tenant(api, caller)
        wanted = api.body(series_schema)
        key = series_key(tenant, wanted["source"], wanted["subject"], wanted["series_id"])
        changes = 0
        if key is not None:
            with api.host.transaction() as transaction:
                changes = end_series(transaction.connection, key)
        return success("NTFAPI_EVENT_ENDSERIES", "Event series ended.", caller, {"changes": changes})

    api.route("publishEvent", publish_event)
    api.route("postEvent", post_event)
    api.route("endEventSeries", end_event_series)


def _tenant(api: Api, caller: Caller) -> str:
    """Return the tenant of an event: that of the query, by default that of the user the service acts for."""
    api.access.need_service(caller, "NTFLIB_EVENT_UNAUTH", "may publish events")
    tenant = api.query().get("tenant", "").strip() or caller.tenant
    if not api.authenticator.may_act_for(caller, tenant):
        raise ApiError(401, "NTFLIB_EVENT_UNAUTH", f"the service may not act for the tenant {tenant:.60} {caller}")
    return tenant
