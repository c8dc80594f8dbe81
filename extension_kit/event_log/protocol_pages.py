"""Pages of event protocols: their tables, shown by one template."""

from flask import Blueprint, Response

from extension_kit.event_log.cells import show_rows
from extension_kit.event_log.lists import LIMIT, arguments, places
from extension_kit.event_log.protocol_tables import PageFailed, ProtocolTables, path_of
from extension_kit.event_log.rendering import show


def protocol_blueprint(tables: ProtocolTables) -> Blueprint:
    """Make the view of the pages of event protocols."""
    blueprint = Blueprint("protocols", __name__)

    @blueprint.get("/protocols/<source>/<name>")
    def show_page(source: str, name: str) -> Response:
        args = arguments()
        title = tables.title(source, name)
        try:
            table = tables.read(source, name, args["before"] or None, LIMIT)
        except PageFailed as error:
            return show("protocol.html", 500, title=title, problem=str(error))
        around = places(path_of(source, name), args, table.next)
        return show("protocol.html", title=title, table=table, rows=show_rows(table), **around)

    return blueprint
