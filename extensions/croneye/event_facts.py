"""Facts of CronEye's events, for their pages in the event log."""

from contextlib import suppress

from .events import SOURCE, CronEyeEvent
from .times import parse_time


def find_facts(body: bytes) -> list[tuple[str, object]]:
    """Return the facts of an event: of its job and scheduler, its times, and its exception.

    Args:
        body: of the published event.
    """
    event = CronEyeEvent.of(source=SOURCE, id="", name="", body=body)
    scheduled = None
    with suppress(ValueError):  # services may send anything
        scheduled = parse_time(event.payload.get("scheduled_run_time"))
    exception = (event.exception or "").strip()
    return [
        ("Job", event.task),
        ("Job id", event.job_id),
        ("Scheduler", event.scheduler),
        ("Scheduled for", scheduled),
        ("Started", event.started),
        ("Duration", event.duration),
        ("Next run", event.next_run),
        ("Exception", exception.partition("\n")[0]),
    ]
