"""The kit with 100 durable functions that hear the same events."""

from extension_kit import Event, Extension

extension = Extension("extension-benchmark")


def _add(number: int) -> None:
    def receive(event: Event) -> None:
        pass

    receive.__name__ = receive.__qualname__ = f"receive_{number}"
    extension.listen_to("experiment.execution.*", path="/events")(receive)


for _number in range(100):
    _add(_number)
