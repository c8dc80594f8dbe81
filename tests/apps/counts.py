"""An extension whose durable function counts the deliveries of each series, and fails every third attempt."""

import os

from extension_kit import Event, Extension

extension = Extension("extension-counts")
RETRY = [float(delay) for delay in os.environ.get("RETRY", "0.05,0.05,0.05").split(",")]


@extension.listen_to("*", path="/events/count", retry=RETRY)
def count(event: Event) -> None:
    key, _, number = event.id.partition("-")
    event.state.set(f"count/{key}", event.state.get(f"count/{key}", 0) + 1)
    event.state.add("deliveries")  # to any series
    event.state.set("last", event.id)  # of any series: workers write it at the same time
    event.state.set("shared", [*event.state.get("shared", []), key][-10:])
    if (int(number) + event.attempt) % 3 == 0:
        event.state.set(f"failed/{key}", event.id)
        raise ConnectionError("some attempts fail")
    event.state.set(f"temporary/{key}", number, ttl=0.01)
