"""Writes down every event of CronEye that it is told of, one line of JSON each."""

import json
import os
from typing import TYPE_CHECKING

from extension_kit import Extension

if TYPE_CHECKING:
    from extensions.croneye import CronEyeEvent

extension = Extension("extension-listens")


@extension.listen_to("croneye.*")
def note(event: "CronEyeEvent") -> None:
    seen = {"id": event.id, "name": event.name, "subject": event.subject, "task": event.task}
    line = json.dumps({**seen, "exception": event.exception, "type": type(event).__name__})
    with open(os.environ["LEDGER"], "a", encoding="utf-8") as ledger:
        ledger.write(line + "\n")
