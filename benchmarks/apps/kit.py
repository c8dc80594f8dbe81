"""The kit with a function that does nothing."""

from extension_kit import Event, Extension

extension = Extension("extension-benchmark")


@extension.listen_to("experiment.execution.*", path="/events", immediate=True)
def receive(event: Event) -> None:
    pass
