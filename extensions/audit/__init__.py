"""Keeps every event for audits: as lines of files, rows of a database or objects in S3, each event once."""

from extension_kit import Event, Extension, SettingError

from .settings import AuditSettings
from .targets import AuditTarget, open_target

extension = Extension("extension-audit", settings=AuditSettings)
_targets: list[AuditTarget] = []


@extension.configure
def listen(settings: AuditSettings) -> None:
    """Listen to the events that are to be kept."""
    if not settings.target:
        raise SettingError("EXTENSION_AUDIT_TARGET is not set: write file:///var/log/audit, for example")
    close()
    _targets.append(open_target(settings.target))
    extension.listen_to(*settings.events, name="keep", path="/events/audit")(keep)


def keep(event: Event) -> None:
    """Keep an event. It is safe before the delivery ends."""
    _targets[0].keep(event)


@extension.on_stop
def close() -> None:
    """Close the connections of the target."""
    while _targets:
        _targets.pop().close()


@extension.is_ready
def is_ready() -> str | None:
    """Return the reason for which the target takes no events; None if it does."""
    return _targets[0].problem()
