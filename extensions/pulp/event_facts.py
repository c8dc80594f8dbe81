"""Facts of Pulp's events, for their pages in the event log."""

from .events import PulpEvent
from .listeners import SOURCE


def find_facts(body: bytes) -> list[tuple[str, object]]:
    """Return the facts of an event: of its repository, and of the sync or publish that it tells of.

    Args:
        body: of the published event.
    """
    event = PulpEvent.of(source=SOURCE, id="", name="", body=body)
    return [
        ("Repository", event.repo_id),
        ("Result", event.result),
        ("Started", event.started),
        ("Completed", event.completed),
        ("Task", event.task_id),
    ]
