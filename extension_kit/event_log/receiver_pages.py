"""Page of receivers: functions and subscriptions with their state, to be paused and resumed."""

from typing import Any

from flask import Blueprint, Response, request

from extension_kit.event_log.context import EventLog
from extension_kit.event_log.paging import BadFilter
from extension_kit.event_log.receivers import shown_receivers
from extension_kit.event_log.rendering import show


def receiver_blueprint(log: EventLog) -> Blueprint:
    """Make the view of receivers."""
    blueprint = Blueprint("receivers", __name__)

    @blueprint.get("/receivers")
    def list_receivers() -> Response:
        given = request.args.get("after", "0")
        if not given.isascii() or not given.isdigit() or len(given) > 18:
            raise BadFilter("after is the number of a subscription: take it from the address of a next page.")

        def read() -> dict[str, Any]:
            with log.database.read() as connection:
                receivers, next = shown_receivers(connection, log.service, int(given))
            return {"receivers": receivers, "next": next, "is_first": int(given) == 0}

        return show(log.pages, "receivers.html", read)

    return blueprint
