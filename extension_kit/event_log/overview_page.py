"""Overview: rates of attempts, deliveries that wait, dead letters by listener and error, and workers."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, request

from extension_kit.deliveries.inbox_rows import Unfiled
from extension_kit.deliveries.pauses import paused
from extension_kit.deliveries.queries import Filter
from extension_kit.deliveries.tables import DEAD
from extension_kit.deliveries.worker_rows import known_workers
from extension_kit.event_log import bars
from extension_kit.event_log.context import EventLog
from extension_kit.event_log.delivery_search import count_deliveries
from extension_kit.event_log.overview_numbers import RANGES, dead_by_listener_and_error, waiting_by_listener
from extension_kit.event_log.paging import BadFilter, Count
from extension_kit.event_log.rendering import show

_WORDS = {
    "1h": ("the last hour", "a minute"),
    "24h": ("the last 24 hours", "half an hour"),
    "7d": ("the last 7 days", "3 hours"),
}
"""Each range, and its interval, in words."""


def overview_blueprint(log: EventLog, unfiled: Callable[[], Unfiled]) -> Blueprint:
    """Make the view of the overview."""
    blueprint = Blueprint("overview", __name__)

    @blueprint.get("/")
    def show_overview() -> Response:
        name = request.args.get("range", "1h")
        if (wanted := RANGES.get(name)) is None:
            raise BadFilter(f"range is one of {', '.join(RANGES)}.")
        in_words, step = _WORDS[name]

        def read() -> dict[str, Any]:
            now = datetime.now(UTC)
            with log.database.read() as connection:
                waiting = waiting_by_listener(connection)
                return {
                    "ranges": RANGES,
                    "range": name,
                    "range_text": in_words,
                    "bars": bars.draw(wanted.rates(connection, now), step),
                    "waiting": waiting,
                    "waiting_count": Count(sum(row.number for row in waiting), all(row.is_exact for row in waiting)),
                    "waiting_since": min((row.since for row in waiting), default=None),
                    "dead": count_deliveries(connection, Filter(status=DEAD)),
                    "errors": dead_by_listener_and_error(connection),
                    "paused": paused(connection),
                    "workers": [(row, row.is_silent(now)) for row in known_workers(connection)],
                    "unfiled": unfiled(),
                }

        return show(log.pages, "overview.html", read)

    return blueprint
