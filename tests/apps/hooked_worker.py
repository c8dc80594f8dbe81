"""An extension with hooks, which write down their calls and do as files beside the ledger say."""

import os
import threading
import time
from pathlib import Path

from extension_kit import Event, Extension, NotReady

extension = Extension("extension-hooked")
other = Extension("extension-other")
LEDGER = Path(os.environ.get("LEDGER", os.devnull))
IMMEDIATE = bool(os.environ.get("IMMEDIATE"))
opened: list[str] = []


def note(*words: object) -> None:
    with LEDGER.open("a") as ledger:
        ledger.write(" ".join(map(str, words)) + "\n")


def told(name: str) -> str | None:
    """The text of a file beside the ledger; None if it is not there."""
    file = LEDGER.with_name(name)
    return file.read_text() if file.exists() else None


@extension.on_start
def connect() -> None:
    note("on_start connect", os.getpid())
    if (mistake := told("start-fails")) is not None:
        raise ConnectionError(mistake)
    opened.append("connection")


@extension.on_start
async def warm_up() -> None:
    note("on_start warm_up", os.getpid())


@extension.on_stop
def close() -> None:
    note("on_stop close", os.getpid())
    if told("stop-hangs") is not None:
        threading.Event().wait(600)


@extension.on_stop
def say_goodbye() -> None:
    note("on_stop say_goodbye", os.getpid())
    raise ValueError("goodbye failed")


@extension.is_ready
def can_reach() -> object:
    match told("ready"):
        case None:
            return None
        case "False":
            return False
        case "hangs":
            while told("ready") == "hangs":
                time.sleep(0.05)
            return True
        case "raises":
            raise OSError("no route")
        case text:
            return text


@extension.listen_to("experiment.execution.*", path="/events/page", retry=[])
def page(event: Event) -> None:
    assert opened
    if (reason := told("refused")) is not None:
        note("refused", event.id)
        raise NotReady(reason, retry_in=1)
    note("end", event.id, event.experiment_execution.execution_id if event.experiment_execution else "")


@other.listen_to("*", path="/events/other")
def elsewhere(event: Event) -> None:
    note("other", event.id)


if IMMEDIATE:

    @extension.listen_to("killswitch.engaged", path="/events/now", immediate=True)
    def now(event: Event) -> None:
        assert opened
        note("now", event.id)
