"""Pages of events: the list with its filter, one event with its deliveries, and its body to be downloaded."""

import threading
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, abort, g
from werkzeug.exceptions import ServiceUnavailable

from extension_kit.deliveries.inbox_rows import Unfiled
from extension_kit.event_log.bodies import show_body, whole_body
from extension_kit.event_log.candidates import sources
from extension_kit.event_log.context import EventLog
from extension_kit.event_log.delivery_search import deliveries_of
from extension_kit.event_log.event_search import event_of, find_events
from extension_kit.event_log.facts import facts_of
from extension_kit.event_log.filters import event_filter
from extension_kit.event_log.lists import LIMIT, arguments, places, tidy_address
from extension_kit.event_log.rendering import is_poll, show, wants_raw

_LONGEST_WAIT = 10.0  # seconds


def event_blueprint(log: EventLog, unfiled: Callable[[], Unfiled]) -> Blueprint:
    """Make the views of events."""
    blueprint = Blueprint("events", __name__)
    one_download = threading.Lock()  # a body without its secrets may take seconds, and thirty times its size

    @blueprint.get("/events")
    def list_events() -> Response:
        if tidy := tidy_address():
            return tidy
        args = arguments()
        wanted = event_filter(args)

        def read() -> dict[str, Any]:
            with log.database.read() as connection:
                found = find_events(connection, wanted, args["before"] or None, LIMIT)
                known = sources(connection)
            return {"found": found, "sources": known, "unfiled": unfiled(), **places("/events", args, found.next)}

        return show(log.pages, "events.html", read)

    @blueprint.get("/events/<int:ref>")
    def show_event(ref: int) -> Response:
        def read() -> dict[str, Any]:
            with log.database.read() as connection:
                row = event_of(connection, ref)
                if row is None:
                    abort(404, f"There is no event {ref}, or retention has removed it.")
                found = deliveries_of(connection, ref)
            return {
                "row": row,
                "deliveries": found,
                "facts": () if is_poll() else facts_of(log.service, row.source, row.body),
                "event_ref": ref,
                "body": None if is_poll() else show_body(row.body, is_raw=wants_raw()),
            }

        return show(log.pages, "event.html", read)

    @blueprint.get("/events/<int:ref>/body")
    def download(ref: int) -> Response:
        with log.database.read() as connection:
            row = event_of(connection, ref)
        if row is None:
            abort(404, f"There is no event {ref}, or retention has removed it.")
        if not one_download.acquire(timeout=_LONGEST_WAIT):
            raise ServiceUnavailable("Somebody else downloads a large body: try again in a moment.", retry_after=2)
        try:
            body = whole_body(row.body, is_raw=g.viewer.may_see_raw)
        finally:
            one_download.release()
        response = Response(body, content_type="application/json")
        response.headers["Content-Disposition"] = f'attachment; filename="event-{ref}.json"'
        return response

    return blueprint
