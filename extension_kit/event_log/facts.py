"""Facts: the parts of an event that people look for, for its page: of Steadybit's events, and of other protocols'."""

import logging
from collections.abc import Callable, Sequence
from itertools import islice

from extension_kit.event_log.cells import ShownCell, show_cell
from extension_kit.events.event import STEADYBIT, Event
from extension_kit.runtime.service import Service

logger = logging.getLogger("extension_kit.event_log")

MOST_FACTS = 50
"""Facts that are shown at most."""

_Find = Callable[[bytes], Sequence[tuple[str, object]]]


def facts_of(service: Service | None, source: str, body: bytes) -> list[tuple[str, ShownCell]]:
    """Return the facts of an event with their labels, in the order of its protocol; those without a value are left out.

    There are none of a protocol that is not known here, or that fails to find them, which is logged.

    Args:
        service: the extensions with the known protocols; None: only Steadybit's is known.
        source: of the event.
        body: of the event.
    """
    if (find := _finder(service, source)) is None:
        return []
    try:
        found = ((str(label), value) for label, value in find(body) if value not in (None, ""))
        return [(label, show_cell(value)) for label, value in islice(found, MOST_FACTS)]
    except Exception:
        logger.exception("Cannot find the facts of an event of %s", source)
        return []


def _finder(service: Service | None, source: str) -> _Find | None:
    if source == STEADYBIT:
        return _steadybit_facts
    protocols = service.protocols if service is not None else ()
    return next((bound.protocol.log_facts for bound in protocols if bound.source == source), None)


def _steadybit_facts(body: bytes) -> list[tuple[str, object]]:
    event = Event.from_body(body)
    run, step, target = event.experiment_execution, event.step, event.experiment_step_target_execution
    execution = run or step or target
    return [
        ("Tenant", event.tenant and (event.tenant.name or event.tenant.key)),
        ("Team", event.team and (event.team.name or event.team.key)),
        ("Environment", event.environment and event.environment.name),
        ("Caused by", event.principal and event.principal.display_name),
        ("Experiment", run and run.name),
        ("Hypothesis", run and run.hypothesis),
        ("Step", step and step.display_name),
        ("Target", target and target.label),
        ("State", execution and execution.state),
        ("Started", execution and execution.started_time),
        ("Ended", execution and execution.ended_time),
        ("Seconds", execution and execution.duration and f"{execution.duration.total_seconds():.1f}"),
        ("Reason", getattr(execution, "reason", None)),
        ("Details", getattr(execution, "reason_details", None)),
    ]
