"""Writes down the Tapis events it is called for, and takes Steadybit's."""

import os
from pathlib import Path

from extension_kit import Event, Extension

extension = Extension("extension-follows")


@extension.listen_to("jobs.new_status.*")
def follow(event: Event) -> None:
    with Path(os.environ["LEDGER"]).open("a") as ledger:
        ledger.write(f"{event.name} {event.subject} {event.text} {event.tenant_id} {event.series_seq_count}\n")


@extension.listen_to("experiment.execution.failed")
def ignore(event: Event) -> None:
    pass
