"""A function that is in order, beside those that are not."""

import os
import time
from pathlib import Path

from extension_kit import Event, Extension

extension = Extension("extension-neighbours")
LEDGER = Path(os.environ.get("LEDGER", os.devnull))


@extension.listen_to("*", path="/events/healthy")
def healthy(event: Event) -> None:
    with LEDGER.open("a") as ledger:
        ledger.write(f"start {event.id} {time.monotonic()}\n")


@extension.listen_to("*", path="/events/hangs", retry=[0.01] * 100, timeout=0.5)
def hangs(event: Event) -> None:
    time.sleep(3600)


@extension.listen_to("*", path="/events/always-fails", retry=[0.05] * 900)
def always_fails(event: Event) -> None:
    raise ConnectionError("the pager is out of order")
