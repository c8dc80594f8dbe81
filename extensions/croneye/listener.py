"""``POST /event``: receives events of services (CronEye, docs/event_listener.md)."""

import logging
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from hmac import compare_digest
from typing import NamedTuple

from extension_kit.protocol import GroupedRoute, ReceivedRequest, RouteAnswer, Transaction

from .answers import Refusal, bad_request, route_success
from .events import event_id
from .log_entries import Arrival
from .payload import InvalidPayload, read
from .settings import CronEyeSettings
from .state import record

logger = logging.getLogger("extension_kit.croneye")


class _Item(NamedTuple):
    """An event that has arrived, and the answer to its request once it is committed."""

    arrival: Arrival
    answer: RouteAnswer


class Listener:
    """Accepts events. It answers success after the event is committed; after any other answer nothing is stored.

    Args:
        settings: the tokens of services, and the minimum duration of a lost run.
    """

    def __init__(self, settings: CronEyeSettings) -> None:
        self._shortest = timedelta(seconds=settings.lost_after)
        self._allowed = [f"Token {token}".encode() for token in settings.tokens]

    def routes(self, paths: Iterable[str]) -> tuple[GroupedRoute[_Item], ...]:
        """Make the routes of events, one for each path."""
        return tuple(
            GroupedRoute(
                "POST",
                path,
                self._parse,
                self._write,
                self._admit,
                endpoint=f"croneye.event{number}",
                takes_slash=False,
            )
            for number, path in enumerate(paths)
        )

    def _parse(self, request: ReceivedRequest) -> _Item | RouteAnswer:
        """Read an event; one with an unknown code is answered with success and dropped.

        Raises:
            Refusal: there is no valid token, or the body is malformed or holds an impossible value.
        """
        self._admit(request)
        try:
            posted = read(request.body)
        except InvalidPayload as error:
            logger.warning("Event refused: %s", error)
            raise bad_request() from error
        answer = route_success(request.headers.get("origin"))
        if posted is None:
            return answer
        if posted.repairs:
            logger.warning("Invalid JSON repaired in the body of %s: %s", posted, ", ".join(posted.repairs))
        arrival = Arrival(posted, event_id(posted, request.body), datetime.now(UTC), request.trace_context)
        return _Item(arrival, answer)

    def _admit(self, request: ReceivedRequest) -> None:
        """Refuse a request without a valid token. The whole header is compared, case-sensitively.

        Raises:
            Refusal: there is none.
        """
        if not (given := request.headers.get("authorization", "").encode("utf-8", "replace")):
            raise bad_request()
        # All are compared in constant time, so that the duration reveals nothing about any of them.
        if not sum(compare_digest(given, header) for header in self._allowed):
            raise Refusal(401, "Unauthorised user", data={})

    def _write(self, transaction: Transaction, items: Sequence[_Item]) -> list[RouteAnswer | Exception]:
        record(transaction, [item.arrival for item in items], self._shortest)
        return [item.answer for item in items]
