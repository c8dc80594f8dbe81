"""Writes down an event of each system that it is told of, a line each."""

import os

from extension_kit import Event, Extension

extension = Extension("extension-notes")


@extension.listen_to("experiment.execution.failed", "croneye.job.error", "jobs.new_status.*", "repo.sync.finish")
def note(event: Event) -> None:
    with open(os.environ["LEDGER"], "a", encoding="utf-8") as ledger:
        ledger.write(f"{event.name}\n")
