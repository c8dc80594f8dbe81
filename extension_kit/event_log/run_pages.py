"""Pages of runs: the experiment executions, and the story of one with its steps, targets, events and deliveries."""

from collections.abc import Sequence
from typing import Any

from flask import Blueprint, Response, abort
from sqlalchemy import Connection, Row, select

from extension_kit.deliveries.tables import deliveries
from extension_kit.event_log.context import EventLog
from extension_kit.event_log.lists import LIMIT, arguments, places
from extension_kit.event_log.rendering import show
from extension_kit.event_log.run_search import find_runs, run_events
from extension_kit.event_log.timeline import draw
from extension_kit.events.event import Event

STATES = ("created", "prepared", "running", "failed", "completed", "canceled", "errored", "skipped")
"""States of executions that have a colour."""

_MOST_EVENTS, _MOST_DELIVERIES = 1000, 5000


def run_blueprint(log: EventLog) -> Blueprint:
    """Make the views of runs."""
    blueprint = Blueprint("runs", __name__)

    @blueprint.get("/runs")
    def list_runs() -> Response:
        args = arguments()

        def read() -> dict[str, Any]:
            with log.database.read() as connection:
                found = find_runs(connection, args["before"] or None, LIMIT)
            return {"found": found, "states": STATES, **places("/runs", args, found.next)}

        return show(log.pages, "runs.html", read)

    @blueprint.get("/runs/<path:subject>")
    def show_run(subject: str) -> Response:
        def read() -> dict[str, Any]:
            with log.database.read() as connection:
                rows = run_events(connection, subject, _MOST_EVENTS + 1)
                if not rows:
                    abort(404, "There is no event of this run, or retention has removed them.")
                events = rows[-_MOST_EVENTS:]
                found = _deliveries(connection, [row.ref for row in events])
            return {
                "subject": subject,
                "line": draw((Event.from_body(row.body) for row in events if row.body is not None), subject),
                "states": STATES,
                "events": events,
                "deliveries": found,
                "is_cut": len(rows) > _MOST_EVENTS,
            }

        return show(log.pages, "run.html", read)

    return blueprint


def _deliveries(connection: Connection, event_refs: Sequence[int]) -> dict[int, list[Row[Any]]]:
    """Return the deliveries of events, by the numbers of these."""
    of_these = select(deliveries).where(deliveries.c.event_ref.in_(event_refs)).limit(_MOST_DELIVERIES)
    found: dict[int, list[Row[Any]]] = {}
    for row in connection.execute(of_these):
        found.setdefault(row.event_ref, []).append(row)
    return found
