"""Datadog events, made of Steadybit's: one for the start and the end of each run, and of each attack on a target."""

import re
from collections.abc import Sequence
from typing import Any

from extension_kit import Event

from . import tags

_PREFIX = "experiment.execution."
_ENDS = ("completed", "failed", "canceled", "errored")

EVENT_NAMES = (
    *(_PREFIX + word for word in ("created", *_ENDS)),
    _PREFIX + "step-started",  # sends nothing: it describes the step of the targets that follow
    *(f"{_PREFIX}target-{word}" for word in ("started", *_ENDS)),
)

_ALERT_TYPES = {"completed": "success", "failed": "error", "errored": "error", "canceled": "warning"}
_MOST_TITLE = 100
_MOST_TEXT = 3900
_MOST_NAME = 500


def datadog_event(event: Event, own_tags: Sequence[str] = ()) -> dict[str, Any] | None:
    """Return the body of ``POST /api/v1/events`` (Datadog, Post an event); None for an event that is not told.

    Args:
        event: of a run, or of a target, whose step has to be known: only attacks are told.
        own_tags: the tags of the settings.
    """
    if (run := event.experiment_execution) is not None:
        subject = f"Experiment {_code(run.experiment_key)} - {_code(run.name)} (execution {_code(run.execution_id)})"
        return _body(
            event,
            run,
            title=f"Experiment '{run.experiment_key}'",
            text=f"{subject} {_progress(event, run)}.",
            tags=tags.as_tags(tags.common(event), tags.of_run(run)),
            own_tags=own_tags,
            alert_type=None if _has_started(event) else _ALERT_TYPES.get(run.state),
        )
    target, step = event.experiment_step_target_execution, event.step
    if target is None or step is None or step.action_kind != "attack":
        return None
    subject = f"Experiment {_code(target.experiment_key)} (execution {_code(target.execution_id)})"
    attack = f"Attack {_code(step.display_name)} {_progress(event, target)}"
    return _body(
        event,
        target,
        title=f"Experiment '{target.experiment_key}' - Attack",
        text=f"{subject} - {attack}.\n\nTarget:{_plain(target.label)}",
        tags=tags.as_tags(tags.of_step(step), tags.common(event), tags.of_target(target)),
        own_tags=own_tags,
    )


def _body(
    event: Event,
    execution: Any,
    *,
    title: str,
    text: str,
    tags: list[str],
    own_tags: Sequence[str],
    alert_type: str | None = None,
) -> dict[str, Any]:
    body = {
        "title": f"{title[:_MOST_TITLE]} {'started' if _has_started(event) else 'ended'}",
        "text": f"%%% \n{text[:_MOST_TEXT]}\n %%%",
        "tags": [*tags, *own_tags],
        "source_type_name": "Steadybit",
        "aggregation_key": f"steadybit-execution-{execution.execution_id}",
        "date_happened": int(event.time.timestamp()) if event.time else None,
        "alert_type": alert_type,
    }
    return {name: value for name, value in body.items() if value is not None}


def _has_started(event: Event) -> bool:
    return bool(event.name.endswith(("created", "started")))


def _progress(event: Event, execution: Any) -> str:
    if _has_started(event):
        return "started"
    after = f" after {execution.duration.total_seconds():.2f} seconds" if execution.duration else ""
    return f"ended with state {_code(execution.state)}{after}"


def _code(value: object) -> str:
    """Return a value as code in Markdown, which it cannot end."""
    return f"`{_plain(value).replace('`', chr(39))}`"


def _plain(value: object) -> str:
    """Return a value of bounded length in one line, which cannot end the Markdown."""
    text = "" if value is None else str(value)
    return re.sub("%%+", "%", " ".join(text.split()))[:_MOST_NAME]
