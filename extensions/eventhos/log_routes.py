"""Routes of the event log: /event/received."""

from datetime import UTC, datetime
from typing import Any

from flask import Response, request

from extension_kit.protocol import parse_time

from .answers import EventhosError, answer
from .api import Api
from .event_log import EventLog
from .log_filter import STATES, Filter
from .paging import Paging, number_of_query
from .tables import received

_MALFORMED = 400209


def add_log_routes(api: Api) -> None:
    """Add the routes."""
    log = EventLog(api.encryption, api.settings)

    def page() -> Response:
        paging = Paging.of_request({"id": received.c.id}, order="desc")
        with api.kit.read() as connection:
            return answer(log.page(connection, _filter(), paging))

    def event(id: int) -> Response:
        with api.kit.read() as connection:
            return answer(_found(log.event(connection, id), 404206, "received event", id))

    def execution(id: int) -> Response:
        with api.kit.read() as connection:
            return answer(_found(log.execution(connection, id), 404203, "contract detail", id))

    api.route("GET", "/event/received", page, "event:select")
    api.route("GET", "/event/received/{id}", event, "event:select")
    for path in ("/event/received/execution-detail/{id}", "/received/execution-detail/{id}"):
        api.route("GET", path, execution, "event:select")


def _found(content: Any, code: int, what: str, id: int) -> Any:
    if content is None:
        raise EventhosError(404, code, f"There is no {what} {id}.")
    return content


def _filter() -> Filter:
    """Return the filter of the query.

    Raises:
        EventhosError: 400, a parameter cannot be read.
    """
    state = request.args.get("state") or None
    if state is not None and state not in STATES:
        raise EventhosError(400, _MALFORMED, f"state is one of {', '.join(STATES)}.")
    identifier = request.args.get("eventIdentifierSearch") or None
    return Filter(
        system=number_of_query("systemId", _MALFORMED),
        since=_time("fromTime"),
        until=_time("toTime"),
        state=state,
        id=number_of_query("idSearch", _MALFORMED),
        identifier=None if identifier is None else identifier.replace("\x00", "\ufffd"),
    )


def _time(name: str) -> datetime | None:
    """Return a time of the query: ISO 8601, or milliseconds since 1970."""
    text = request.args.get(name, "")
    if not text:
        return None
    try:
        if text.isascii() and text.isdigit():
            return datetime.fromtimestamp(int(text) / 1000, UTC)
        if (found := parse_time(text)) is not None:
            found = found.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        found = None
    if found is None:
        raise EventhosError(400, _MALFORMED, f"{name} is a time such as 2026-01-31T12:00:00Z.")
    return found
