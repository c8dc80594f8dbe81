"""Annotates runs of experiments, and their steps, in Grafana: a region from the start of each to its end."""

import time

from extension_kit import Event, Extension

from .annotations import RUN_EVENTS, STEP_EVENTS, Annotation, run_annotation, step_annotation
from .api import connect
from .settings import GrafanaSettings

_KEEP_ENDED = 86400.0
"""Seconds for which the number of an annotation is kept after its end, for events that come late."""

_RETRY = [1, 5, 30, 300, 1800, 7200, 18000, 36000, 36000]
"""Seconds between attempts: the end of a run waits for its start, so the first attempts follow soon."""

_ARRIVES_WITHIN = 3.0
"""Seconds within which the request of an attempt that was killed reaches Grafana in nearly all cases."""

extension = Extension("extension-grafana", settings=GrafanaSettings)


@extension.configure
def listen(settings: GrafanaSettings) -> None:
    """Listen to the events of runs, and to those of steps if the settings say so."""
    names = (*RUN_EVENTS, *STEP_EVENTS) if settings.steps else RUN_EVENTS
    extension.listen_to(*names, retry=_RETRY)(annotate)


@extension.is_ready
def check() -> str | None:
    """Ask Grafana whether it can be used."""
    return connect(extension.settings).check()


def annotate(event: Event) -> None:
    """Make the annotation of a run or of a step, or give it its end."""
    own_tags = extension.settings.tags
    run, step = run_annotation(event, own_tags), step_annotation(event, own_tags)
    if run is not None and (step is None or event.state.get(run.key) is None):  # a run's start may have been missed
        _annotate(event, run)
    if step is not None:
        _annotate(event, step)


def _annotate(event: Event, annotation: Annotation) -> None:
    """Bring an annotation to the state that an event tells of, without making a second one.

    The state of the extension keeps its number, and whether it has ended: the event of a start that comes late changes
    nothing. An annotation without a known number is looked up first: an earlier attempt may have made it without
    getting the answer, or its request may still be on the way. Only of the start of a run, the first event of its
    series, the number of the attempt tells that there was none: a killed worker may have been further than it wrote.
    """
    grafana = connect(extension.settings)
    known = event.state.get(annotation.key, {})
    ended = annotation.time_end is not None
    if known.get("ended") and not ended:
        return
    number = known.get("id")
    if number is None or not grafana.change(number, annotation):
        is_unknown_start = number is None and annotation.is_start
        if is_unknown_start and event.attempt > 1:
            time.sleep(_ARRIVES_WITHIN)
        is_new = is_unknown_start and event.attempt == 1 and event.name == RUN_EVENTS[0]
        number = None if is_new else grafana.find(annotation)
        if number is None:
            number = grafana.create(annotation)
        elif ended:
            grafana.change(number, annotation)
    event.state.set(annotation.key, {"id": number, "ended": ended}, ttl=_KEEP_ENDED if ended else None)
