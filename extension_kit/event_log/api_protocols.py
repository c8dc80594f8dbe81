"""API view of the pages of event protocols."""

from flask import Blueprint, Response

from extension_kit.event_log.api_answers import answer, arguments
from extension_kit.event_log.cells import table_to_json
from extension_kit.event_log.lists import LIMIT
from extension_kit.event_log.protocol_tables import PageFailed, ProtocolTables
from extension_kit.events.answers import problem
from extension_kit.web.responses import respond


def add_protocol_views(api: Blueprint, tables: ProtocolTables) -> None:
    """Add the view to the blueprint of the API."""

    @api.get("/protocols/<source>/<name>")
    def show_protocol_page(source: str, name: str) -> Response:
        before = arguments(("before",)).get("before")
        try:
            table = tables.read(source, name, before, LIMIT)
        except PageFailed as error:
            return respond(problem(500, "Internal Server Error", str(error)))
        return answer(table_to_json(table))
