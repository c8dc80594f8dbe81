"""One path whose function blocks, and one whose function does nothing."""

import time

from extension_kit import Event, Extension

extension = Extension("extension-benchmark")


@extension.listen_to("*", path="/events", immediate=True)
def call_another_service(event: Event) -> None:
    time.sleep(0.005)


@extension.listen_to("*", path="/quick", immediate=True)
def do_nothing(event: Event) -> None:
    pass
