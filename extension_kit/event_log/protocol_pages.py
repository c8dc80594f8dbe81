"""Pages of event protocols: their tables, shown by one template."""

from typing import Any

from flask import Blueprint, Response, make_response

from extension_kit.event_log.cells import show_rows
from extension_kit.event_log.context import EventLog
from extension_kit.event_log.lists import LIMIT, arguments, places
from extension_kit.event_log.protocol_tables import PageFailed, ProtocolTables, path_of
from extension_kit.event_log.rendering import render, show


def protocol_blueprint(log: EventLog, tables: ProtocolTables) -> Blueprint:
    """Make the view of the pages of event protocols."""
    blueprint = Blueprint("protocols", __name__)

    @blueprint.get("/protocols/<source>/<name>")
    def show_page(source: str, name: str) -> Response:
        args = arguments()
        title = tables.title(source, name)

        def read() -> dict[str, Any]:
            table = tables.read(source, name, args["before"] or None, LIMIT)
            around = places(path_of(source, name), args, table.next)
            return {"title": title, "table": table, "rows": show_rows(table), **around}

        try:
            return show(log.pages, "protocol.html", read)
        except PageFailed as error:
            return make_response(render("protocol.html", title=title, problem=str(error)), 500)

    return blueprint
