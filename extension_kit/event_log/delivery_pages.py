"""Pages of deliveries: the list with its filter, and one delivery with its attempts."""

from typing import Any

from flask import Blueprint, Response, abort

from extension_kit.deliveries.pauses import paused
from extension_kit.deliveries.queries import Filter, body_of, history
from extension_kit.deliveries.tables import DEAD, DELIVERED, DISCARDED, WAITING
from extension_kit.deliveries.waiting import obstacles
from extension_kit.event_log.bodies import show_body
from extension_kit.event_log.context import EventLog
from extension_kit.event_log.delivery_search import count_deliveries, find_deliveries
from extension_kit.event_log.filters import delivery_filter
from extension_kit.event_log.lists import LIMIT, arguments, places, tidy_address
from extension_kit.event_log.rendering import is_poll, show, wants_raw

_STATUSES = (WAITING, DELIVERED, DEAD, DISCARDED)


def delivery_blueprint(log: EventLog) -> Blueprint:
    """Make the views of deliveries."""
    blueprint = Blueprint("deliveries", __name__)

    @blueprint.get("/deliveries")
    def list_deliveries() -> Response:
        if tidy := tidy_address():
            return tidy
        args = arguments()
        wanted = delivery_filter(args)

        def read() -> dict[str, Any]:
            with log.database.read() as connection:
                found = find_deliveries(connection, wanted, args["before"] or None, LIMIT)
                return {
                    "found": found,
                    "count": count_deliveries(connection, wanted),
                    "paused": paused(connection),
                    "statuses": _STATUSES,
                    **places("/deliveries", args, found.next),
                }

        return show(log.pages, "deliveries.html", read)

    @blueprint.get("/deliveries/<int:ref>")
    def show_delivery(ref: int) -> Response:
        def read() -> dict[str, Any]:
            with log.database.read() as connection:
                rows = find_deliveries(connection, Filter(refs=(ref,)), None, 1).rows
                if not rows:
                    abort(404, f"There is no delivery {ref}, or retention has removed it.")
                row = rows[0]
                return {
                    "row": row,
                    "attempts": history(connection, ref),
                    "behind": obstacles(connection, rows).get(ref),
                    "paused": paused(connection).get(row.listener),
                    "event_ref": row.event_ref,
                    "body": None if is_poll() else show_body(body_of(connection, ref), is_raw=wants_raw()),
                }

        return show(log.pages, "delivery.html", read)

    return blueprint
