"""Spans of experiment runs: one of the run, one of each step, one of each target, each made from its end event alone.

Ids are hashes of the ids in the event, and times are those of the event. So the spans of a run come together in one
trace although each is made for itself, and an event that is delivered again makes the same span again. The attributes
beside ``steadybit.*`` are those of OpenTelemetry's semantic conventions for CI/CD pipelines: an experiment is a
pipeline, a step a task of it.
"""

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from extension_kit import (
    Event,
    ExperimentExecution,
    ExperimentStepExecution,
    ExperimentStepTargetExecution,
    GiveUp,
)

Execution = ExperimentExecution | ExperimentStepExecution | ExperimentStepTargetExecution
Attributes = dict[str, str | int | tuple[str, ...] | None]

_SCOPE = InstrumentationScope("extension-traces")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MOMENT = datetime(2262, 1, 1, tzinfo=UTC)  # of times in nanoseconds
_MOST_CHARACTERS = 4096

_RESULTS = {
    "completed": "success",
    "failed": "failure",
    "errored": "error",
    "canceled": "cancellation",
    "skipped": "skip",
}
"""End state of an execution -> ``cicd.pipeline.result`` or ``cicd.pipeline.task.run.result``."""

_SAME_THINGS = {
    "host.hostname": "host.name",
    "container.id": "container.id",
    "k8s.cluster-name": "k8s.cluster.name",
    "k8s.namespace": "k8s.namespace.name",
    "k8s.deployment": "k8s.deployment.name",
    "k8s.pod.name": "k8s.pod.name",
    "aws.zone": "cloud.availability_zone",
}
"""Attribute of a target -> OpenTelemetry's name for it, by which the target's own traces are found."""


class _Facts(NamedTuple):
    """The parts of a span that differ between runs, steps and targets."""

    execution: Execution
    name: str | None
    ids: tuple[str, ...]
    """Ids from the run down to this span; empty for the run itself."""
    attributes: Attributes


def make_span(event: Event, resource: Resource) -> ReadableSpan:
    """Make the span of the run, step or target that an event says has ended.

    Args:
        event: an end event, such as ``experiment.execution.step-completed``.
        resource: the source of the span: ``service.name`` and more.

    Raises:
        GiveUp: the event lacks something without which there is no span.
    """
    execution, name, ids, attributes = _facts(event)
    state = execution.state if execution.state in _RESULTS else event.name.rpartition(".")[2].rpartition("-")[2]
    result = _RESULTS.get(state, state)
    kind = "task.run." if ids else ""
    attributes |= _common(event, execution, state) | {f"cicd.pipeline.{kind}result": result}
    reason = getattr(execution, "reason", None)
    is_error = state in ("failed", "errored")
    if is_error:
        attributes["error.type"] = state
    start, end = _times(event, execution)
    path = (event.tenant.key if event.tenant else None, execution.experiment_key, execution.execution_id)
    return ReadableSpan(
        name=_cut(name or execution.experiment_key or "experiment"),
        context=_context(path, ids),
        parent=_context(path, ids[:-1]) if ids else None,
        resource=resource,
        attributes={key: value for key, value in attributes.items() if value not in (None, "", ())},
        kind=SpanKind.INTERNAL if ids else SpanKind.SERVER,
        status=Status(StatusCode.ERROR, _cut(reason) or None) if is_error else Status(),
        start_time=start,
        end_time=end,
        instrumentation_scope=_SCOPE,
    )


def _facts(event: Event) -> _Facts:
    if (run := event.experiment_execution) is not None:
        return _Facts(run, f"RUN {run.name or run.experiment_key}", (), _run_attributes(run))
    if (step := event.experiment_step_execution) is not None:
        return _Facts(step, step.display_name, _ids(step.id), _step_attributes(step))
    if (target := event.experiment_step_target_execution) is not None:
        ids = _ids(target.step_execution_id, target.id)
        return _Facts(target, target.label or target.target_type, ids, _target_attributes(target))
    raise GiveUp(f"{event.name} comes without an execution: there is nothing to trace")


def _ids(*ids: str | None) -> tuple[str, ...]:
    if not all(ids):
        raise GiveUp("the event comes without the id of its step or target, which its span is known by")
    return tuple(map(str, ids))


def _run_attributes(run: ExperimentExecution) -> Attributes:
    return {
        "cicd.pipeline.action.name": "RUN",
        "steadybit.experiment.hypothesis": _cut(run.hypothesis),
        "steadybit.experiment.tags": tuple(_cut(tag) for tag in run.tags),
        "steadybit.experiment.name": _cut(run.name),
        "cicd.pipeline.name": _cut(run.name),
        "steadybit.execution.reason": _cut(run.reason),
        "steadybit.execution.reason_details": _cut(run.reason_details),
    }


def _step_attributes(step: ExperimentStepExecution) -> Attributes:
    return {
        "cicd.pipeline.task.name": _cut(step.display_name),
        "cicd.pipeline.task.run.id": step.id,
        "steadybit.step.id": step.id,
        "steadybit.step.type": step.type,
        "steadybit.step.custom_label": _cut(step.custom_label),
        "steadybit.action.id": _cut(step.action_id),
        "steadybit.action.name": _cut(step.action_name),
        "steadybit.action.kind": step.action_kind,
    }


def _target_attributes(target: ExperimentStepTargetExecution) -> Attributes:
    attributes: Attributes = {
        "cicd.pipeline.task.name": _cut(target.label),
        "cicd.pipeline.task.run.id": target.id,
        "cicd.worker.name": _cut(target.agent_hostname),
        "steadybit.step.id": target.step_execution_id,
        "steadybit.target.id": target.id,
        "steadybit.target.name": _cut(target.target_name),
        "steadybit.target.type": _cut(target.target_type),
        "steadybit.target.reason": _cut(target.reason),
        "steadybit.target.reason_details": _cut(target.reason_details),
    }
    found = target.target_attributes
    for theirs, ours in _SAME_THINGS.items():
        if len(values := found.get(theirs, [])) == 1:  # of several values none is the target's
            attributes[ours] = _cut(values[0].rpartition("://")[2])  # containerd://<id>
    return attributes


def _common(event: Event, execution: Execution, state: str) -> Attributes:
    principal = event.principal
    return {
        "cicd.pipeline.run.id": event.subject,
        "steadybit.execution.id": execution.execution_id,
        "steadybit.execution.state": state,
        "steadybit.experiment.key": _cut(execution.experiment_key),
        "steadybit.tenant.key": _cut(event.tenant.key) if event.tenant else None,
        "steadybit.team.key": _cut(event.team.key) if event.team else None,
        "steadybit.team.name": _cut(event.team.name) if event.team else None,
        "steadybit.environment.name": _cut(event.environment.name) if event.environment else None,
        "steadybit.principal.type": principal.principal_type if principal else None,
        "steadybit.principal.name": _cut(principal.display_name) if principal else None,
    }


def _times(event: Event, execution: Execution) -> tuple[int, int]:
    """Return start and end in nanoseconds since 1970; the time of the event stands in for each that is missing."""
    prepared = execution.prepared_time if isinstance(execution, ExperimentExecution) else None
    end = _nanoseconds(execution.ended_time) or _nanoseconds(event.time)
    if end is None:
        raise GiveUp("the event comes without a time")
    start = _nanoseconds(execution.started_time) or _nanoseconds(prepared) or _nanoseconds(event.time) or end
    return min(start, end), end


def _nanoseconds(time: datetime | None) -> int | None:
    if time is None or not _EPOCH < time < _LAST_MOMENT:
        return None
    return (time - _EPOCH) // timedelta(microseconds=1) * 1000


def _context(path: tuple[str | int | None, ...], ids: tuple[str, ...]) -> SpanContext:
    """Return the ids of a span: the trace's is a hash of the run, the span's one of the run and its own id."""
    return SpanContext(
        int.from_bytes(_hash(path)[:16]),
        int.from_bytes(_hash((*path, *ids[-1:], "span"))[:8]),
        is_remote=False,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )


def _hash(parts: tuple[str | int | None, ...]) -> bytes:
    return hashlib.sha256(json.dumps(parts).encode()).digest()


def _cut(text: str | None) -> str:
    return (text or "")[:_MOST_CHARACTERS]
