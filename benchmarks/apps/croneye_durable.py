"""A durable function that does nothing with every event of CronEye."""

from extension_kit import Event, Extension

extension = Extension("extension-benchmark")


@extension.listen_to("croneye.*")
def receive(event: Event) -> None:
    pass
