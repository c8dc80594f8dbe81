"""Calls whoever is on call when an experiment fails, and files a report: what durable listeners do on bad days."""

import os
from itertools import cycle
from pathlib import Path

from extension_kit import Event, Extension, GiveUp

extension = Extension("extension-pager")

FAILURES = ("experiment.execution.failed", "experiment.execution.errored")
REPORTS = Path(os.environ.get("REPORTS", "reports"))

telephone = cycle(["engaged", "engaged", "answered"])  # yours is a service, whose bad days come without a plan


@extension.listen_to(*FAILURES, retry=[1, 2, 5])
def page(event: Event) -> None:
    """What passes by itself: raise, and the function runs again after 1, 2 and 5 seconds."""
    if next(telephone) == "engaged":
        raise ConnectionError("the line is engaged")
    print(f"pager: somebody on call knows of {event.subject}", flush=True)


@extension.listen_to(*FAILURES)
def report(event: Event) -> None:
    """What does not pass by itself: give up, and it is a dead letter until somebody mends the cause and replays it."""
    if not REPORTS.is_dir():
        raise GiveUp(f"there is no directory {REPORTS}")
    run = event.experiment_execution
    file = REPORTS / f"{run.experiment_key}-{run.execution_id}.txt"  # the same if it runs again: no harm done
    file.write_text(f"{run.name}: {run.state} ({run.reason})\n")
    print(f"pager: wrote {file}", flush=True)
