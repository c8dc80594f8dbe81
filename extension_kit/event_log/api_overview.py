"""API view of the overview: rates of attempts, deliveries that wait, and dead letters by listener and error."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response

from extension_kit.deliveries.inbox_rows import Unfiled
from extension_kit.deliveries.queries import Filter
from extension_kit.deliveries.tables import DEAD, WAITING
from extension_kit.event_log.api_answers import answer, arguments
from extension_kit.event_log.context import EventLog
from extension_kit.event_log.delivery_search import count_deliveries
from extension_kit.event_log.overview_numbers import RANGES, dead_by_listener_and_error, waiting_by_listener
from extension_kit.event_log.paging import BadFilter


def add_overview(api: Blueprint, log: EventLog, unfiled: Callable[[], Unfiled]) -> None:
    """Add the view.

    Args:
        api: the blueprint of the API.
        log: the database.
        unfiled: returns the events that are not filed.
    """

    @api.get("/overview")
    def show_overview() -> Response:
        name = arguments(("range",)).get("range", "1h")
        if (wanted := RANGES.get(name)) is None:
            raise BadFilter(f"range is one of {', '.join(RANGES)}.")
        with log.database.read() as connection:
            found: dict[str, Any] = {
                "waiting": count_deliveries(connection, Filter(status=WAITING)),
                "dead": count_deliveries(connection, Filter(status=DEAD)),
                "waiting_by_listener": waiting_by_listener(connection),
                "dead_by_listener_and_error": dead_by_listener_and_error(connection),
                "rates": wanted.rates(connection, datetime.now(UTC)),
            }
        return answer({**{key: _plain(value) for key, value in found.items()}, "unfiled": unfiled()._asdict()})


def _plain(value: Any) -> Any:
    """Return a tuple with names, or a list of them, as objects."""
    return [each._asdict() for each in value] if isinstance(value, list) else value._asdict()
