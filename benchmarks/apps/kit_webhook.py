"""The kit with a durable function that calls a webhook."""

from benchmarks.apps.webhook import post
from extension_kit import Event, Extension

extension = Extension("extension-benchmark")


@extension.listen_to("*", path="/events")
def deliver(event: Event) -> None:
    post(f"/{event.id}", event.body)
