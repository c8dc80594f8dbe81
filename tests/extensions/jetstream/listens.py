"""Writes down every event that it is told of, one line of JSON each."""

import json
import os
from typing import TYPE_CHECKING

from extension_kit import Event, Extension

if TYPE_CHECKING:
    from extensions.jetstream import CloudEvent

extension = Extension("extension-listens")


@extension.listen_to("jetstream.*")
def note(event: "CloudEvent") -> None:
    seen = {"id": event.id, "name": event.name, "subject": event.subject, "series": event.series}
    seen |= {"attributes": event.attributes, "payload": event.payload, "time": event.time and event.time.isoformat()}
    write(seen)


@extension.listen_to("killswitch.engaged")
def note_of_steadybit(event: Event) -> None:
    write({"id": event.id, "name": event.name})


def write(seen: dict) -> None:
    with open(os.environ["LEDGER"], "a", encoding="utf-8") as ledger:
        ledger.write(json.dumps(seen) + "\n")
