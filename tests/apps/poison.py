"""An extension with a durable function that kills its worker while others are under way."""

import os
import time

from ledger import note

from extension_kit import Event, Extension

extension = Extension("extension-poison")
RETRY = [0.05, 0.05]


@extension.listen_to("*", path="/events/poison", retry=RETRY)
def poison(event: Event) -> None:
    note("poison", event.id)
    time.sleep(0.5)
    os._exit(9)


@extension.listen_to("*", path="/events/innocent", retry=RETRY)
def innocent(event: Event) -> None:
    note("start", event.id, "innocent")
    time.sleep(1)
    note("end", event.id, "innocent")
