"""An extension with async functions, which write down their runs like those of ledger.py, and a plain one."""

import asyncio
import os
import threading
import time
from pathlib import Path

from extension_kit import Event, Extension, GiveUp, RetryLater

extension = Extension("extension-waits")
LEDGER = Path(os.environ.get("LEDGER", os.devnull))
SECONDS = float(os.environ.get("SECONDS", "1"))
RETRY = (0.05, 0.05, 0.05)
_running = 0


def note(*words: object) -> None:
    """Append a line that is there whatever happens to the process."""
    with LEDGER.open("a") as file:
        file.write(" ".join(map(str, words)) + "\n")


@extension.listen_to("*", path="/events/waits", retry=RETRY)
async def waits(event: Event) -> None:
    global _running
    _running += 1
    note("running", _running, threading.active_count())
    note("start", event.id, "waits")
    try:
        await asyncio.sleep(SECONDS)
        note("end", event.id, "waits")
    finally:
        _running -= 1


@extension.listen_to("*", path="/events/plain", retry=RETRY)
def plain(event: Event) -> None:
    note("end", event.id, "plain")


@extension.listen_to("experiment.execution.*", path="/events/ordered", retry=RETRY)
async def ordered(event: Event) -> None:
    note("start", event.id, event.subject)
    await asyncio.sleep(0.005)
    if LEDGER.read_text().count(f"start {event.id} ") == 1 and event.id.endswith("3"):
        raise ConnectionError("not yet")
    note("end", event.id, event.subject)


@extension.listen_to("*", path="/events/gives-up", retry=RETRY)
async def gives_up(event: Event) -> None:
    note("start", event.id, "gives-up")
    raise GiveUp("nobody is on call")


@extension.listen_to("*", path="/events/later", retry=[1000])
async def later(event: Event) -> None:
    note("start", event.id, "later")
    if LEDGER.read_text().count(f"start {event.id} ") == 1:
        raise RetryLater(0.05)
    note("end", event.id, "later")


@extension.listen_to("*", path="/events/hangs", retry=[0.01], timeout=0.3)
async def hangs(event: Event) -> None:
    note("start", event.id, "hangs")
    try:
        await asyncio.sleep(3600)
    finally:
        note("cancelled", event.id)


@extension.listen_to("*", path="/events/blocks", retry=[1000], timeout=1)
async def blocks(event: Event) -> None:
    note("start", event.id, "blocks")
    while not LEDGER.read_text().count("unblock"):
        time.sleep(0.05)


@extension.listen_to("killswitch.*", path="/events/at-once", immediate=True)
async def at_once(event: Event) -> None:
    note("start", event.id, threading.current_thread().name)
    await asyncio.sleep(0.01)
    if event.id == "bad":
        raise ValueError("a bad event")
    note("end", event.id, "at-once")
