"""Annotations of runs and of their steps, made of Steadybit's events: regions in Grafana's graphs, with text and tags.

An annotation is made when a run or a step starts, and gets its end, its state and another text when that ends. A few of
its tags, its identity, stay the same all the time: it is found again by them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from html import escape
from typing import Any

from extension_kit import Event

from .tags import fitting, own_tag, tag

_PREFIX = "experiment.execution."
_ENDS = ("completed", "failed", "canceled", "errored")

RUN_ENDS = tuple(_PREFIX + end for end in _ENDS)
RUN_EVENTS = (_PREFIX + "created", *RUN_ENDS)
STEP_ENDS = tuple(f"{_PREFIX}step-{end}" for end in _ENDS)
STEP_EVENTS = (_PREFIX + "step-started", *STEP_ENDS)

_MOST_TEXT = 500
"""Maximum number of characters of a text."""


@dataclass(frozen=True)
class Annotation:
    """An annotation as an event describes it. Times are in milliseconds since 1970, as Grafana's are.

    ``key`` is the name under which its number in Grafana is kept. ``time`` is None in an event of an end that lacks the
    start, ``time_end`` in an event of a start. ``is_start`` is True in the event that is the first of its run or step.
    """

    key: str
    identity: tuple[str, ...]
    text: str
    tags: tuple[str, ...]
    time: int | None
    time_end: int | None
    is_start: bool


def run_annotation(event: Event, own_tags: Iterable[str] = ()) -> Annotation | None:
    """Return the annotation of the run that an event belongs to; None where the run has no number.

    Args:
        event: of a run, or of a step, which knows the key and the number of the run, but not its name.
        own_tags: the tags of the settings.
    """
    run = event.experiment_execution
    execution = run or event.experiment_step_execution
    if execution is None or event.series is None:
        return None
    ended = event.name in RUN_ENDS
    name = run.name if run else None
    text = f"Experiment {execution.experiment_key}" + (f": {name}" if name else "")
    more = (tag("state", run.state if run else None), *map(own_tag, own_tags), *_context(event), tag("exp_name", name))
    identity = _identity(event, execution, "run")
    return Annotation(
        key=_key("run", event.series),
        identity=identity,
        text=_as_html(text, run if ended else None),
        tags=fitting((*identity, *more)),
        time=_start(event, execution, ended),
        time_end=_end(event, execution) if ended else None,
        is_start=event.name == RUN_EVENTS[0],
    )


def step_annotation(event: Event, own_tags: Iterable[str] = ()) -> Annotation | None:
    """Return the annotation of the step that an event is about; None where the step or its run cannot be told.

    Args:
        event: of a step.
        own_tags: the tags of the settings.
    """
    step = event.experiment_step_execution
    if step is None or event.series is None or not step.id:
        return None
    ended = event.name in STEP_ENDS
    identity = _identity(event, step, "step", tag("step_id", step.id))
    more = (
        tag("state", step.state),
        *map(own_tag, own_tags),
        tag("step_label", step.custom_label),
        tag("step_name", step.action_name),
        *_context(event),
        tag("step_action_id", step.action_id),
    )
    return Annotation(
        key=_key("step", event.series, step.id),
        identity=identity,
        text=_as_html(f"Step {step.display_name}", step if ended else None),
        tags=fitting((*identity, *more)),
        time=_start(event, step, ended),
        time_end=_end(event, step) if ended else None,
        is_start=event.name == STEP_EVENTS[0],
    )


def _key(kind: str, *parts: str) -> str:
    """Return a name of bounded length for the state."""
    return f"{kind}/{blake2b(chr(0).join(parts).encode(), digest_size=20).hexdigest()}"


def _identity(event: Event, execution: Any, kind: str, *more: str | None) -> tuple[str, ...]:
    return fitting(
        (
            "source:Steadybit",
            f"kind:{kind}",
            tag("exec_id", execution.execution_id),
            tag("exp_key", execution.experiment_key),
            tag("tenant_key", event.tenant.key if event.tenant else None),
            *more,
        )
    )


def _context(event: Event) -> tuple[str | None, ...]:
    """Return the tags of the environment and of the team: names, never variables, properties or addresses."""
    environment, team, tenant = event.environment, event.team, event.tenant
    return (
        tag("env", environment.name if environment else None),
        tag("team_key", team.key if team else None),
        tag("team_name", team.name if team else None),
        tag("tenant", tenant.name if tenant else None),
    )


def _as_html(text: str, ended: Any) -> str:
    """Return a text for Grafana, which shows texts as HTML, with the outcome of an execution that has ended."""
    if ended is not None:
        text += f" {ended.state or 'ended'}"
        text += f" after {ended.duration.total_seconds():.2f} seconds" if ended.duration else ""
        reason = getattr(ended, "reason", None)  # of runs only
        text += f" ({reason})" if reason else ""
    return escape(text[:_MOST_TEXT], quote=False)


def _start(event: Event, execution: Any, ended: bool) -> int | None:
    if execution.started_time is not None or ended:
        return _milliseconds(execution.started_time)
    return _milliseconds(event.time or datetime.now(UTC))


def _end(event: Event, execution: Any) -> int | None:
    return _milliseconds(execution.ended_time or event.time or datetime.now(UTC))


def _milliseconds(time: datetime | None) -> int | None:
    return None if time is None else int(time.timestamp() * 1000)
