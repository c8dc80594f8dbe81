"""Inbox: takes notifications of Pulp servers, and publishes their events."""

import hmac
import logging
from collections.abc import Sequence

from extension_kit.protocol import GroupedRoute, ReceivedRequest, RouteAnswer, Transaction, read_foreign_json

from .answers import PulpError, route_answer
from .events import PulpEvent, event_of
from .settings import PulpSettings
from .users import Users, basic_credentials, unauthenticated

logger = logging.getLogger("extension_kit.pulp")

INBOX = "/pulp/notifications"

_LEAST_TOKEN = 16  # characters; wrong tokens are not counted, since a delay would lose notifications


class Inbox:
    """Takes notifications. A Pulp server takes nothing but 200 for a success.

    Args:
        settings: the token of notifications.
        users: those that may create listeners may send notifications, too.
    """

    def __init__(self, settings: PulpSettings, users: Users) -> None:
        if 0 < len(settings.token) < _LEAST_TOKEN:
            logger.warning("EXTENSION_PULP_TOKEN has fewer than %d characters and can be guessed", _LEAST_TOKEN)
        self._token = settings.token.encode()
        self._users = users

    @property
    def route(self) -> GroupedRoute[PulpEvent]:
        """The route of notifications."""
        return GroupedRoute(
            "POST", INBOX, self._parse, self._write, self._admit, endpoint="pulp.notify", is_slow=self._is_slow
        )

    def _parse(self, request: ReceivedRequest) -> PulpEvent:
        """Return the event of a notification.

        Raises:
            PulpError: 400, it is not a notification; and as ``_admit``.
        """
        self._admit(request)
        try:
            found, repairs = read_foreign_json(request.body)
            event = event_of(found, request.trace_context)
        except ValueError as error:
            raise PulpError(400, "PLP0000", f"not a notification of Pulp: {error}") from None
        if repairs:
            logger.warning("Invalid JSON repaired in a notification %s: %s", event.name, ", ".join(repairs))
        return event

    def _write(self, transaction: Transaction, events: Sequence[PulpEvent]) -> list[RouteAnswer | Exception]:
        first = {event.id: event for event in reversed(events)}
        published = [event for event in events if first[event.id] is event]
        is_new = {
            event.id: recorded.is_new
            for event, recorded in zip(published, transaction.publish(*published), strict=True)
        }
        return [
            route_answer({"id": event.id, "is_new": is_new[event.id] and first[event.id] is event}) for event in events
        ]

    def _admit(self, request: ReceivedRequest) -> None:
        """Check that a client may send notifications.

        Raises:
            PulpError: 401 with Pulp's code; 429, a password cannot be checked now.
        """
        if self._has_token(request):
            return
        if self._token and (_token_of_query(request) is not None or self._users.are_none):
            raise unauthenticated()
        self._users.authorize(request, "create")

    def _is_slow(self, request: ReceivedRequest) -> bool:
        return not self._has_token(request) and self._users.is_slow(request)

    def _has_token(self, request: ReceivedRequest) -> bool:
        """Return True if a request has the token: in its query, or else as the password."""
        if not self._token:
            return False
        sent = _token_of_query(request)
        if sent is None and (basic := basic_credentials(request)) is not None:
            sent = basic.password
        return sent is not None and hmac.compare_digest(sent.encode(), self._token)


def _token_of_query(request: ReceivedRequest) -> str | None:
    return request.query().get("token")
