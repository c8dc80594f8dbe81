"""Time line: the steps and targets of one experiment execution, put together from its events."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from extension_kit.events.event import Event
from extension_kit.events.steadybit import Execution

WIDTH = 1000.0
_LEAST = 4.0  # width of a bar that would be too narrow to be seen


@dataclass
class Span:
    """A run, a step or a target, with the times and the state of its last event.

    Attributes:
        label: its name for people.
        kind: run, step or target.
        state: in lower case; None before one is known.
        begin: None before it has started.
        end: None before it has ended.
        reason: of the state; None without one.
    """

    label: str
    kind: str
    state: str | None = None
    begin: datetime | None = None
    end: datetime | None = None
    reason: str | None = None
    targets: dict[str, Span] = field(default_factory=dict)

    @property
    def duration(self) -> timedelta | None:
        """Time from begin to end; None if one is missing."""
        return self.end - self.begin if self.begin and self.end else None


class Bar(NamedTuple):
    """A row of the time line.

    Attributes:
        span: shown by the row.
        x: begin of the bar; None without a begin.
        width: of the bar, in units of ``WIDTH`` for the whole line.
    """

    span: Span
    x: float | None
    width: float


class TimeLine(NamedTuple):
    """The story of a run: the run itself, and a row for it, its steps and their targets."""

    run: Span
    rows: Sequence[Bar]


def draw(events: Iterable[Event], subject: str) -> TimeLine:
    """Put the time line of a run together.

    Args:
        events: of the run, in the order in which they were received.
        subject: ``<experiment key>/<execution id>``, the name of a run without a name.
    """
    run = Span(subject, "run")
    steps: dict[str, Span] = {}
    for event in events:
        if (execution := event.experiment_execution) is not None:
            run.label = execution.name or run.label
            _renew(run, execution, execution.started_time or execution.prepared_time, execution.reason)
        elif (step := event.experiment_step_execution) is not None and step.id:
            span = steps.setdefault(step.id, Span(step.display_name or "step", "step"))
            span.label = step.custom_label or step.action_name or step.action_id or span.label
            _renew(span, step, step.started_time, None)
        elif (target := event.experiment_step_target_execution) is not None and target.id:
            of_step = steps.setdefault(target.step_execution_id or "", Span("step", "step"))
            span = of_step.targets.setdefault(target.id, Span(target.label or "target", "target"))
            _renew(span, target, target.started_time, target.reason)
    spans = [run, *(span for step in steps.values() for span in (step, *step.targets.values()))]
    return TimeLine(run, _rows(spans))


def _renew(span: Span, execution: Execution, begin: datetime | None, reason: str | None) -> None:
    """Take over the state and times of an event; one that arrives late takes no time away."""
    span.state = execution.state or span.state
    span.begin = begin or span.begin
    span.end = execution.ended_time or span.end
    span.reason = reason or span.reason


def _rows(spans: Sequence[Span]) -> list[Bar]:
    times = [time for span in spans for time in (span.begin, span.end) if time is not None]
    if not times:
        return [Bar(span, None, 0.0) for span in spans]
    first, last = min(times), max(times)
    return [
        Bar(span, None, 0.0) if span.begin is None else Bar(span, *placed(span.begin, span.end or last, first, last))
        for span in spans
    ]


def placed(begin: datetime, end: datetime, first: datetime, last: datetime) -> tuple[float, float]:
    """Return the x and the width of a bar on a line from ``first`` to ``last``: within it, and wide enough to be seen.

    Both are in units of ``WIDTH`` for the whole line.
    """
    unit = WIDTH / max((last - first).total_seconds(), 1e-3)
    x = max((begin - first).total_seconds() * unit, 0.0)
    width = max(min((end - first).total_seconds() * unit, WIDTH) - x, _LEAST)
    return round(min(x, WIDTH - width), 1), round(width, 1)
