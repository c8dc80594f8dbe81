"""Pages the person on call when an experiment fails, and files a report: an example of retries and dead letters."""

import os
from itertools import cycle
from pathlib import Path

from extension_kit import Event, Extension, GiveUp

extension = Extension("extension-pager")

FAILURES = ("experiment.execution.failed", "experiment.execution.errored")
REPORTS = Path(os.environ.get("REPORTS", "reports"))

telephone = cycle(["engaged", "engaged", "answered"])  # stands for a telephone service that fails at times


@extension.listen_to(*FAILURES, retry=[1, 2, 5])
def page(event: Event) -> None:
    """Call the person on call. For a temporary failure raise: the function runs again after 1, 2 and 5 seconds."""
    if next(telephone) == "engaged":
        raise ConnectionError("the line is engaged")
    print(f"pager: somebody on call knows of {event.subject}", flush=True)


@extension.listen_to(*FAILURES)
def report(event: Event) -> None:
    """Write a report. For a permanent failure give up: the delivery is a dead letter until it is replayed."""
    if not REPORTS.is_dir():
        raise GiveUp(f"there is no directory {REPORTS}")
    run = event.experiment_execution
    file = REPORTS / f"{run.experiment_key}-{run.execution_id}.txt"  # a repetition overwrites the file
    file.write_text(f"{run.name}: {run.state} ({run.reason})\n")
    print(f"pager: wrote {file}", flush=True)
