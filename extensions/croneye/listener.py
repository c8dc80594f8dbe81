"""``POST /event``: receives events of services (CronEye, docs/event_listener.md)."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hmac import compare_digest

from flask import Response, request

from extension_kit.protocol import Kit

from .answers import Refusal, bad_request, success
from .payload import InvalidPayload, read
from .settings import CronEyeSettings
from .state import record

logger = logging.getLogger("extension_kit.croneye")


def listener_view(kit: Kit, settings: CronEyeSettings) -> Callable[[], Response]:
    """Make the view. It answers success after the event is committed; after any other answer nothing is stored."""
    shortest = timedelta(seconds=settings.lost_after)
    allowed = [f"Token {token}".encode() for token in settings.tokens]

    def receive() -> Response:
        _admit(allowed)
        body = request.get_data(cache=False, parse_form_data=False)
        try:
            posted = read(body)
        except InvalidPayload as error:
            logger.warning("Event refused: %s", error)
            raise bad_request() from error
        if posted is not None:
            if posted.repairs:
                done = ", ".join(posted.repairs)
                logger.warning("Invalid JSON repaired in the body of %s: %s", posted, done)
            with kit.transaction() as transaction:
                record(transaction, posted, body, datetime.now(UTC), shortest)
        return success(data={})

    return receive


def _admit(allowed: list[bytes]) -> None:
    """Refuse a request without a valid token. The whole header is compared, case-sensitively."""
    if not (given := request.headers.get("Authorization", "").encode("utf-8", "replace")):
        raise bad_request()
    # All are compared in constant time, so that the duration reveals nothing about any of them.
    if not sum(compare_digest(given, header) for header in allowed):
        raise Refusal(401, "Unauthorised user", data={})
