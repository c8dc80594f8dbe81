"""An extension whose durable functions write down every run, and fail as they are told."""

import os
import time
from pathlib import Path

from extension_kit import Event, Extension, GiveUp, RetryLater

extension = Extension("extension-ledger")
LEDGER = Path(os.environ.get("LEDGER", os.devnull))
RETRY = [float(delay) for delay in os.environ.get("RETRY", "0.05,0.05,0.05").split(",")]


def note(*words: object) -> None:
    """Append a line that is there whatever happens to the process."""
    line = " ".join(map(str, words)) + "\n"
    descriptor = os.open(LEDGER, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, line.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def runs_so_far(event: Event) -> int:
    return LEDGER.read_text().count(f"start {event.id} ")


@extension.listen_to("experiment.execution.*", path="/events/plain", retry=RETRY)
def plain(event: Event) -> None:
    note("start", event.id, event.subject)
    note("end", event.id, event.subject)


@extension.listen_to("*", path="/events/fast", retry=RETRY)
def fast(event: Event) -> None:
    note("end", event.id, "fast")


@extension.listen_to("experiment.execution.*", path="/events/fails-first", retry=RETRY)
def fails_first(event: Event) -> None:
    note("start", event.id, event.subject)
    if runs_so_far(event) == 1:
        raise ConnectionError("first attempts fail")
    note("end", event.id, event.subject)


@extension.listen_to("*", path="/events/always-fails", retry=[0.01, 0.01])
def always_fails(event: Event) -> None:
    note("start", event.id, "always")
    raise ConnectionError("the pager is out of order")


@extension.listen_to("*", path="/events/gives-up", retry=RETRY)
def gives_up(event: Event) -> None:
    note("start", event.id, "gives-up")
    raise GiveUp("nobody is on call")


@extension.listen_to("*", path="/events/later", retry=[1000])
def later(event: Event) -> None:
    note("start", event.id, "later")
    if runs_so_far(event) == 1:
        raise RetryLater(0.05, "not now")
    note("end", event.id, "later")


@extension.listen_to("*", path="/events/hangs", retry=[0.01], timeout=0.3)
def hangs(event: Event) -> None:
    note("start", event.id, "hangs")
    time.sleep(3600)


@extension.listen_to("*", path="/events/crashes", retry=[0.01, 0.01])
def crashes(event: Event) -> None:
    note("start", event.id, "crashes")
    os._exit(9)


@extension.listen_to("*", path="/events/slow", retry=RETRY)
def slow(event: Event) -> None:
    note("start", event.id, "slow")
    time.sleep(float(os.environ.get("SLOW", "0.3")))
    note("end", event.id, "slow")


@extension.listen_to("experiment.execution.*", path="/events/steps", retry=RETRY)
def steps(event: Event) -> None:
    note("step", event.id, event.step.display_name if event.step else None)
