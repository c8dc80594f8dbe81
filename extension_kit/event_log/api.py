"""API: the lists and pages of the event log as JSON, for scripts and other dashboards."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, g

from extension_kit.deliveries.action_rows import action_of, recent
from extension_kit.deliveries.inbox_rows import Unfiled
from extension_kit.deliveries.queries import Filter, history
from extension_kit.deliveries.waiting import obstacles
from extension_kit.deliveries.worker_rows import known_workers
from extension_kit.event_log.actions import Actions
from extension_kit.event_log.api_action_views import add_action_views
from extension_kit.event_log.api_answers import answer, arguments, missing
from extension_kit.event_log.api_document import build_document
from extension_kit.event_log.api_overview import add_overview
from extension_kit.event_log.api_protocols import add_protocol_views
from extension_kit.event_log.api_records import (
    action_record,
    attempt_record,
    delivery_record,
    event_record,
    receiver_record,
    run_record,
    whole_event_record,
    worker_record,
)
from extension_kit.event_log.context import EventLog
from extension_kit.event_log.delivery_search import count_deliveries, deliveries_of, find_deliveries
from extension_kit.event_log.event_search import count_events, event_of, find_events
from extension_kit.event_log.filters import (
    DELIVERY_PARAMETERS,
    EVENT_PARAMETERS,
    PAGE_PARAMETERS,
    delivery_filter,
    event_filter,
)
from extension_kit.event_log.paging import ACTIONS, BadFilter, Found, cursor, limit_of, number_of
from extension_kit.event_log.protocol_tables import ProtocolTables
from extension_kit.event_log.receivers import shown_receivers
from extension_kit.event_log.run_search import find_runs
from extension_kit.events.event import STEADYBIT


def api_blueprint(log: EventLog, actions: Actions, unfiled: Callable[[], Unfiled], tables: ProtocolTables) -> Blueprint:
    """Make the views of the API.

    Args:
        log: the settings, the database and the extensions.
        actions: those of this process.
        unfiled: returns the events that are not filed.
        tables: those of event protocols.
    """
    api = Blueprint("api", __name__, url_prefix="/api")
    add_overview(api, log, unfiled)
    _add_event_views(api, log)
    _add_delivery_views(api, log)
    _add_run_views(api, log)
    _add_other_views(api, log)
    add_protocol_views(api, tables)
    add_action_views(api, log, actions)
    document = build_document()

    @api.get("/openapi.json")
    def show_document() -> Response:
        arguments(())
        return answer(document)

    return api


def _add_event_views(api: Blueprint, log: EventLog) -> None:
    @api.get("/events")
    def list_events() -> Response:
        given = arguments((*EVENT_PARAMETERS, *PAGE_PARAMETERS))
        wanted, limit = event_filter(given), limit_of(given)
        with log.database.read() as connection:
            found = find_events(connection, wanted, given.get("before"), limit)
            number = count_events(connection, wanted)
        rows = [event_record(row) for row in found.rows]
        return answer({"events": rows, **_places(found), "count": number._asdict()})

    @api.get("/events/<int:ref>")
    def show_event(ref: int) -> Response:
        is_raw = arguments(("raw",)).get("raw", "0")
        if is_raw not in ("0", "1"):
            raise BadFilter("raw is 0 or 1.")
        with log.database.read() as connection:
            if (row := event_of(connection, ref)) is None:
                return missing("event", ref)
            rows = deliveries_of(connection, ref)
            behind = obstacles(connection, rows)
        return answer(whole_event_record(row, rows, behind, is_raw=is_raw == "1" and g.viewer.may_see_raw))


def _add_delivery_views(api: Blueprint, log: EventLog) -> None:
    @api.get("/deliveries")
    def list_deliveries() -> Response:
        given = arguments((*DELIVERY_PARAMETERS, *PAGE_PARAMETERS))
        wanted, limit = delivery_filter(given), limit_of(given)
        with log.database.read() as connection:
            found = find_deliveries(connection, wanted, given.get("before"), limit)
            number = count_deliveries(connection, wanted)
            behind = obstacles(connection, found.rows)
        rows = [delivery_record(row, behind) for row in found.rows]
        return answer({"deliveries": rows, **_places(found), "count": number._asdict()})

    @api.get("/deliveries/<int:ref>")
    def show_delivery(ref: int) -> Response:
        arguments(())
        with log.database.read() as connection:
            rows = find_deliveries(connection, Filter(refs=(ref,)), None, 1).rows
            if not rows:
                return missing("delivery", ref)
            record = delivery_record(rows[0], obstacles(connection, rows))
            attempts = history(connection, ref)
        return answer({**record, "history": [attempt_record(row) for row in attempts]})


def _add_run_views(api: Blueprint, log: EventLog) -> None:
    @api.get("/runs")
    def list_runs() -> Response:
        given = arguments(PAGE_PARAMETERS)
        with log.database.read() as connection:
            found = find_runs(connection, given.get("before"), limit_of(given))
        return answer({"runs": [run_record(run) for run in found.rows], **_places(found)})

    @api.get("/runs/<path:subject>")
    def show_run(subject: str) -> Response:
        given = arguments(PAGE_PARAMETERS)
        wanted = event_filter({"subject": subject, "source": STEADYBIT})
        with log.database.read() as connection:
            found = find_events(connection, wanted, given.get("before"), limit_of(given))
        if not found.rows and found.next is None and "before" not in given:
            return missing("run", subject)
        return answer({"subject": subject, "events": [event_record(row) for row in found.rows], **_places(found)})


def _add_other_views(api: Blueprint, log: EventLog) -> None:
    @api.get("/receivers")
    def list_receivers() -> Response:
        after = arguments(("after",)).get("after", "0")
        if not (after.isascii() and after.isdigit() and len(after) <= 18):
            raise BadFilter("after is a number: take it from `next` of the page before, or leave it out.")
        with log.database.read() as connection:
            receivers, next = shown_receivers(connection, log.service, int(after))
        return answer({"receivers": [receiver_record(each) for each in receivers], "next": next})

    @api.get("/actions")
    def list_actions() -> Response:
        given = arguments(PAGE_PARAMETERS)
        limit = limit_of(given)
        with log.database.read() as connection:
            rows = recent(connection, number_of(ACTIONS, given.get("before")), limit + 1)
        now = datetime.now(UTC)
        next = cursor(ACTIONS, rows[limit - 1].ref) if len(rows) > limit else None
        return answer({"actions": [action_record(row, now) for row in rows[:limit]], "next": next})

    @api.get("/actions/<int:ref>")
    def show_action(ref: int) -> Response:
        arguments(())
        with log.database.read() as connection:
            row = action_of(connection, ref)
        return missing("action", ref) if row is None else answer(action_record(row, datetime.now(UTC)))

    @api.get("/workers")
    def list_workers() -> Response:
        arguments(())
        with log.database.read() as connection:
            workers = known_workers(connection)
        now = datetime.now(UTC)
        return answer({"workers": [worker_record(each, now) for each in workers]})


def _places(found: Found[Any]) -> dict[str, object]:
    return {"next": found.next, "searched_to": found.searched_to}
