"""Sends the starts and ends of experiments, and of their attacks, to Datadog as events."""

import logging
import time
from functools import lru_cache
from typing import Any

from extension_kit import Event, Extension, NotReady, RetryLater, http

from .events import EVENT_NAMES, datadog_event
from .settings import DatadogSettings

logger = logging.getLogger("extension_kit.datadog")

_OLDEST = 17 * 3600
"""Seconds after which an event is sent without its time: Datadog takes events of the last 18 hours only."""

_RETRY = [1, 5, 30, 300, 1800, 7200, 18000, 36000, 36000]
"""Seconds between attempts: events of a run wait for those before, so the first attempts follow soon."""

extension = Extension("extension-datadog", settings=DatadogSettings)


@lru_cache(maxsize=1)
def connect(settings: DatadogSettings) -> http.Client:
    """Return a client for the API of the settings."""
    return http.Client(settings.address, headers={"DD-API-KEY": settings.api_key})


@extension.is_ready
def check() -> None:
    """Ask Datadog whether the API key is valid.

    Raises:
        NotReady, http.CallFailed: it is not, or Datadog does not answer.
    """
    _read(connect(extension.settings).get("/api/v1/validate", accept=(404,)))


@extension.listen_to(*EVENT_NAMES, retry=_RETRY)
def send(event: Event) -> None:
    """Send an event. Datadog shows it once more where its answer was lost: it has no key against repetitions."""
    body = datadog_event(event, extension.settings.tags)
    if body is not None:
        _post(body)
    elif event.is_target and event.step is None:
        logger.warning("%s of %s is not sent: the start of its step was not received", event.name, event.subject)


def _post(body: dict[str, Any]) -> None:
    if body.get("date_happened", 0) < time.time() - _OLDEST:
        body = {name: value for name, value in body.items() if name != "date_happened"}
    response = connect(extension.settings).post("/api/v1/events", json=body, accept=(404, 429))
    if response.status == 429:
        raise RetryLater(_reset(response), "Datadog limits the rate of events (429)")
    _read(response)


def _read(response: http.Response) -> None:
    """Read an answer of Datadog.

    Raises:
        NotReady: it is no answer of Datadog, but perhaps that of a proxy before it.
    """
    try:
        is_known = isinstance(response.json(), dict)
    except http.CallFailed:
        is_known = False
    if response.status == 404 or not is_known:
        raise NotReady(
            f"{response.host} does not answer as Datadog does ({response.status}): is EXTENSION_DATADOG_URL or "
            "EXTENSION_DATADOG_SITE right?"
        )


def _reset(response: http.Response) -> float:
    """Return the seconds until Datadog takes events again (Rate Limits, ``X-RateLimit-Reset``)."""
    text = response.headers.get("X-RateLimit-Reset", "")
    return float(min(max(int(text), 1), 3600)) if text.isdecimal() else 60.0
