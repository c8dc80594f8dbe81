"""An extension whose functions call another system, and log what OpenTelemetry's API tells them."""

import logging
import os
import sys

from extension_kit import Event, Extension, http
from extension_kit.protocol import Message

extension = Extension("extension-traced")
logger = logging.getLogger("traced")
HOOK = os.environ.get("HOOK", "http://127.0.0.1:9")
RETRY = [0.05] * 20
client = http.Client(HOOK)


def current_trace() -> str:
    """The id of the current trace; "none" where OpenTelemetry has not been imported by anybody."""
    if "opentelemetry.trace" not in sys.modules:
        return "none"
    span = sys.modules["opentelemetry.trace"].get_current_span()
    return f"{span.get_span_context().trace_id:032x}"


@extension.listen_to("experiment.execution.*", retry=RETRY)
def plain(event: Event) -> None:
    logger.info("plain in %s", current_trace(), extra={"desk": 7, "api_token": "hush"})
    client.post("/plain?key=hush", json={})


@extension.listen_to("experiment.execution.*", retry=RETRY)
async def awaited(event: Event) -> None:
    logger.info("awaited in %s", current_trace())


@extension.listen_to("experiment.execution.*", immediate=True)
def at_once(event: Event) -> None:
    logger.info("at_once in %s", current_trace())


extension.add_target(
    "experiment.execution.*",
    name="hook",
    target=lambda: {"url": f"{HOOK}/hooks/hush"},
    make_message=lambda event: Message(event.id, event.body),
    retry=RETRY,
)
