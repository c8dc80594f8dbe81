"""The kit with a durable function that does nothing."""

from extension_kit import Event, Extension

extension = Extension("extension-benchmark")


@extension.listen_to("experiment.execution.*", path="/events")
def receive(event: Event) -> None:
    pass
