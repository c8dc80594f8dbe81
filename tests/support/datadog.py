"""A double of Datadog's endpoint for events, with its limits (API reference, Post an event and Rate Limits).

``python -m tests.support.datadog KEY FILE`` serves one that prints each event, for demonstrations.
"""

import json
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.receivers import Request
from tests.support.vendors import Vendor, json_reply

KEY = "0123456789abcdef0123456789abcdef"

MOST_BYTES = 100_000
MOST_TEXT = 4000
OLDEST = 18 * 3600
_ALERT_TYPES = {None, "error", "warning", "info", "success", "user_update", "recommendation", "snapshot"}
_FIELDS = {
    "aggregation_key", "alert_type", "date_happened", "device_name", "host", "priority", "related_event_id",
    "source_type_name", "tags", "text", "title",
}  # fmt: skip


class Datadog(Vendor):
    """Events of one organization.

    Attributes:
        key: the only one that is accepted.
        events: the bodies that were accepted.
        limited: seconds until events are accepted again, as the answer to each request; None: they are accepted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.key = KEY
        self.events: list[dict] = []
        self.limited: int | None = None

    def titles(self) -> list[str]:
        """The titles of the events, those that came twice once."""
        with self.lock:
            return list(dict.fromkeys(event["title"] for event in self.events))

    def handle(self, request: Request) -> bytes:
        route = request.method, urlsplit(request.path).path
        if route not in {("GET", "/api/v1/validate"), ("POST", "/api/v1/events")}:
            return json_reply(404, {"errors": ["Not found"]})
        if request.headers.get("dd-api-key") != self.key:
            return json_reply(403, {"status": "error", "code": 403, "errors": ["Forbidden"]})
        if request.method == "GET":
            return json_reply(200, {"valid": True})
        if len(request.body) > MOST_BYTES:
            return json_reply(413, {"errors": ["Request Entity Too Large"]})
        if self.limited is not None:
            limits = {"X_RateLimit_Limit": 250_000, "X_RateLimit_Period": 60, "X_RateLimit_Remaining": 0}
            return json_reply(429, {"errors": ["Too many requests"]}, **limits, X_RateLimit_Reset=self.limited)
        assert request.headers["content-type"] == "application/json"
        event = json.loads(request.body)
        if problem := _problem(event):
            return json_reply(400, {"errors": [problem]})
        self.events.append(event)
        self.on_change(event)
        return json_reply(202, {"status": "ok", "event": {"id": len(self.events), "title": event["title"]}})


def _problem(event: dict) -> str | None:
    """The reason why an event is refused, None if it is not."""
    if unknown := set(event) - _FIELDS:
        return f"unknown fields {unknown}"
    if not event.get("title") or not event.get("text"):
        return "title and text are required"
    if len(event["text"]) > MOST_TEXT or len(event.get("aggregation_key", "")) > 100:
        return "text or aggregation_key is too long"
    if event.get("alert_type") not in _ALERT_TYPES:
        return "alert_type is unknown"
    if event.get("date_happened", time.time()) < time.time() - OLDEST:
        return "date_happened is older than 18 hours"
    if any(len(tag) > 200 for tag in event.get("tags", [])):
        return "a tag is longer than 200 characters"
    return None


def main() -> None:
    """Serve one with an API key, and write its URL to a file."""
    datadog = Datadog()
    datadog.key = sys.argv[1]
    datadog.demonstrate("Datadog", Path(sys.argv[2]))


if __name__ == "__main__":
    main()
