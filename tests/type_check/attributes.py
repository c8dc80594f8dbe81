"""What type checkers know of an event: every attribute, and nothing that is not there."""

from datetime import datetime, timedelta
from typing import Any, assert_type

from extension_kit import (
    AccessTokenPrincipal,
    BatchPrincipal,
    Event,
    ExperimentStepExecution,
    Principal,
    State,
    UserPrincipal,
)
from extension_kit.protocol import PublishedEvent


def of_every_event(event: Event) -> None:
    assert_type(event.id, str | Any)
    assert_type(event.name, str | Any)
    assert_type(event.time, datetime | None)
    assert_type(event.source, str)
    assert_type(event.subject, str | None)
    assert_type(event.raw, dict[str, Any])
    assert_type(event.body, bytes)
    assert_type(event.remaining_time, float | None)
    assert_type(event.series, str | None)
    assert_type(event.attempt, int)
    assert_type(event.state, State)
    assert_type(event.step, ExperimentStepExecution | Any)
    assert_type(event.is_experiment or event.is_step or event.is_target or event.is_killswitch, bool)
    assert_type(Event.from_body(b"{}"), Event)
    event.time.isoformat()  # type: ignore[union-attr]
    event.name = "other"  # type: ignore[misc]
    event.experiment  # type: ignore[attr-defined]


def of_other_systems(event: PublishedEvent) -> None:
    assert_type(event.data, Any)
    assert_type(event.raw, Any)
    assert_type(event.scope, str | None)
    assert_type(event.trace_context, str)
    assert_type(PublishedEvent.of(source="doorbell", id="1", name="doorbell.rung"), PublishedEvent)


def of_places(event: Event) -> None:
    assert_type(event.tenant.key, str | Any)
    assert_type(event.tenant.name, str | Any)
    assert_type(event.team.id, str | None | Any)
    assert_type(event.team.key, str | Any)
    assert_type(event.team.name, str | Any)
    assert_type(event.environment.id, str | None | Any)
    assert_type(event.environment.name, str | Any)
    event.tenant.id  # type: ignore[union-attr]
    event.environment.key  # type: ignore[union-attr]


def of_runs(event: Event) -> None:
    run = event.experiment_execution
    assert_type(run.experiment_key, str | Any)
    assert_type(run.execution_id, int | Any)
    assert_type(run.name, str | Any)
    assert_type(run.hypothesis, str | None | Any)
    assert_type(run.state, str | Any)
    assert_type(run.prepared_time, datetime | None | Any)
    assert_type(run.started_time, datetime | None | Any)
    assert_type(run.ended_time, datetime | None | Any)
    assert_type(run.duration, timedelta | None | Any)
    assert_type(run.reason, str | None | Any)
    assert_type(run.reason_details, str | None | Any)
    assert_type(run.tags, tuple[str, ...] | Any)
    assert_type(run.variables, dict[str, Any] | Any)
    assert_type(run.properties, dict[str, Any] | Any)
    run.id  # type: ignore[union-attr]
    run.execution_id.upper()  # type: ignore[union-attr]
    run.duration.total_seconds()  # type: ignore[union-attr]


def of_steps(event: Event) -> None:
    step = event.experiment_step_execution
    assert_type(step.id, str | Any)
    assert_type(step.type, str | Any)
    assert_type(step.action_id, str | None | Any)
    assert_type(step.action_name, str | None | Any)
    assert_type(step.action_kind, str | Any)
    assert_type(step.custom_label, str | None | Any)
    assert_type(step.display_name, str | None | Any)
    assert_type(step.state, str | Any)
    step.label  # type: ignore[union-attr]


def of_targets(event: Event) -> None:
    target = event.experiment_step_target_execution
    assert_type(target.id, str | Any)
    assert_type(target.step_execution_id, str | Any)
    assert_type(target.agent_hostname, str | Any)
    assert_type(target.target_name, str | Any)
    assert_type(target.target_type, str | Any)
    assert_type(target.target_attributes, dict[str, list[str]] | Any)
    assert_type(target.label, str | None | Any)
    target.display_name  # type: ignore[union-attr]


def of_principals(event: Event) -> str | None:
    principal = event.principal
    assert_type(principal, Principal | None)
    principal.display_name  # type: ignore[union-attr]
    if isinstance(principal, UserPrincipal):
        assert_type(principal.username, str | Any)
        assert_type(principal.name, str | Any)
        return principal.email
    match principal:
        case AccessTokenPrincipal():
            assert_type(principal.id, str | Any)
            assert_type(principal.name, str | Any)
            assert_type(principal.token_type, str | Any)
        case BatchPrincipal():
            assert_type(principal.username, str | Any)
            principal.email  # type: ignore[attr-defined]
        case Principal():
            assert_type(principal.principal_type, str | Any)
    return principal.display_name if principal else None
