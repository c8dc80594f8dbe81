"""What users write must type-check, and what is wrong must not: each ignored error is one mypy has to find."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, assert_type

from extension_kit import AccessTokenPrincipal, BatchPrincipal, Event, Extension, Principal, UserPrincipal

extension = Extension("extension-typed", version="1.0.0")


@extension.listen_to("experiment.execution.failed", "experiment.execution.errored")
def page(event: Event) -> None:
    run = event.experiment_execution
    print(f"{run.experiment_key}: {run.name} {run.state} ({run.reason})")
    run.nonsense  # type: ignore[union-attr]


@extension.listen_to("killswitch.*", restrict_to="any", path="/events/stop", immediate=True)
def stop() -> int:
    return 1


assert_type(stop(), int)
handler: Callable[[Event], None] = page

extension.listen_to(5)  # type: ignore[arg-type]
extension.listen_to("*", paths="/a")  # type: ignore[call-arg]
extension.listen_to("*")("not a function")  # type: ignore[type-var]
extension.index({"actions": []})
extension.index(lambda: {"actions": None})
extension.index("actions")  # type: ignore[arg-type]


def envelope(event: Event) -> None:
    assert_type(event.id, str | Any)
    assert_type(event.time, datetime | None)
    assert_type(event.subject, str | None)
    assert_type(event.remaining_time, float | None)
    assert_type(event.raw, dict[str, Any])
    assert_type(event.body, bytes)
    assert_type(event.is_experiment, bool)
    event.time.isoformat()  # type: ignore[union-attr]
    event.name = "other"  # type: ignore[assignment]


def executions(event: Event) -> None:
    run = event.experiment_execution
    step = event.experiment_step_execution
    target = event.experiment_step_target_execution
    assert_type(run.execution_id, int | Any)
    assert_type(run.duration, timedelta | None | Any)
    assert_type(run.tags, tuple[str, ...] | Any)
    assert_type(step.display_name, str | None | Any)
    assert_type(target.target_attributes, dict[str, list[str]] | Any)
    step.label  # type: ignore[union-attr]
    target.display_name  # type: ignore[union-attr]


def principals(event: Event) -> str | None:
    principal = event.principal
    assert_type(principal, Principal | None)
    match principal:
        case UserPrincipal():
            return principal.email
        case AccessTokenPrincipal():
            assert_type(principal.token_type, str | Any)
        case BatchPrincipal():
            principal.email  # type: ignore[attr-defined]
    return principal.display_name if principal else None
