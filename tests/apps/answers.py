"""An extension whose functions end in every way a function can end."""

import asyncio
import os
import threading
import time
from pathlib import Path

from extension_kit import Event, Extension

extension = Extension("extension-answers", version="1.2.3")
CALLS = Path(os.environ.get("CALLS", os.devnull))
released = threading.Event()


def note(name: str, event: Event) -> None:
    with CALLS.open("a") as calls:
        calls.write(f"{name} {event.id}\n")


@extension.listen_to("experiment.execution.*", "killswitch.*", "user.invited", path="/events/fine", immediate=True)
def fine(event: Event) -> None:
    note("fine", event)


@extension.listen_to("killswitch.*", path="/events/one-kind", immediate=True)
def one_kind() -> None:
    pass


@extension.listen_to("*", path="/events/broken", immediate=True)
def broken(event: Event) -> None:
    note("broken", event)
    raise RuntimeError("the pager is out of order")


@extension.listen_to("*", path="/events/broken", immediate=True)
def works_beside_broken(event: Event) -> None:
    note("beside", event)


@extension.listen_to("*", path="/events/exits", immediate=True)
def exits(event: Event) -> None:
    raise SystemExit(3)


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise ValueError("not even this")


RAISED = [asyncio.CancelledError(), KeyboardInterrupt(), GeneratorExit(), Unspeakable(), ValueError("\udcff")]


@extension.listen_to("*", path="/events/raises", immediate=True)
def raises(event: Event) -> None:
    raise RAISED[int(event.id.partition("-")[0])]


@extension.listen_to("*", path="/events/waits", immediate=True)
def waits(event: Event) -> None:
    """Runs until the file RELEASE appears, and says how long it was given."""
    note(f"waits-{'limited' if event.remaining_time else 'unlimited'}", event)
    release = Path(os.environ["RELEASE"])
    deadline = time.monotonic() + 60
    while not release.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    note("waited", event)


@extension.listen_to("experiment.execution.failed", path="/events/fails-once", immediate=True)
def fails_once(event: Event) -> None:
    note("fails-once", event)
    if CALLS.read_text().count("fails-once") == 1:
        raise ConnectionError("try again")


extension.extend_index(
    lambda: {"actions": [{"method": "GET", "path": f"/actions/{number:03}"} for number in range(50)]}
)
