"""Pages of actions: the list of replays, discards, retries, pauses and resumes of people, and one with its progress."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from flask import Blueprint, Response, abort

from extension_kit.deliveries.action_rows import PAUSE, RESUME, action_of, recent, state
from extension_kit.event_log.context import EventLog
from extension_kit.event_log.filter_words import phrases
from extension_kit.event_log.filters import delivery_filter
from extension_kit.event_log.lists import LIMIT, arguments, places
from extension_kit.event_log.paging import ACTIONS, BadFilter, cursor, number_of
from extension_kit.event_log.rendering import show


def action_page_blueprint(log: EventLog) -> Blueprint:
    """Make the views of actions."""
    blueprint = Blueprint("actions", __name__)

    @blueprint.get("/actions")
    def list_actions() -> Response:
        args = arguments()

        def read() -> dict[str, Any]:
            with log.database.read() as connection:
                rows = recent(connection, number_of(ACTIONS, args["before"] or None), LIMIT + 1)
            next = cursor(ACTIONS, rows[LIMIT - 1].ref) if len(rows) > LIMIT else None
            return {"rows": [_shown(row) for row in rows[:LIMIT]], **places("/actions", args, next)}

        return show(log.pages, "actions.html", read)

    @blueprint.get("/actions/<int:ref>")
    def show_action(ref: int) -> Response:
        def read() -> dict[str, Any]:
            with log.database.read() as connection:
                row = action_of(connection, ref)
            if row is None:
                abort(404, f"There is no action {ref}, or retention has removed it.")
            return {"row": _shown(row)}

        return show(log.pages, "action.html", read)

    return blueprint


def _shown(row: Any) -> dict[str, Any]:
    return {**row._mapping, "state": state(row, datetime.now(UTC)), "words": _in_words(row)}


def _in_words(row: Any) -> str:
    """Return the filter of an action in words; the key of its receiver."""
    if row.kind in (PAUSE, RESUME):
        return str(row.filter)
    try:
        return "; ".join(phrases(delivery_filter(dict(parse_qsl(row.filter))))) or "all"
    except BadFilter:  # of another release
        return str(row.filter)
