"""Announces every event of Steadybit as one readable line: the example to read first, and an audit log."""

from extension_kit import Event, Extension

extension = Extension("extension-announce")


@extension.listen_to("*")
def announce(event: Event) -> None:
    who = event.principal.display_name if event.principal else None
    print(f"{event.name:<40} {_what(event)}" + (f"  by {who}" if who else ""), flush=True)


def _what(event: Event) -> str:
    if run := event.experiment_execution:
        took = f" after {run.duration.total_seconds():.1f} s" if run.duration else ""
        why = f" ({run.reason})" if run.reason else ""
        return f"{event.subject} {run.name!r}{took}{why}"
    if step := event.experiment_step_execution:
        return f"{event.subject} step {step.display_name!r}"
    if target := event.experiment_step_target_execution:
        return f"{event.subject} target {target.label!r}"
    return event.tenant.name if event.tenant else ""
