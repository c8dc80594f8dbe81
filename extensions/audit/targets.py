"""Targets: places that keep events, by their URL."""

from importlib.util import find_spec
from typing import Protocol
from urllib.parse import unquote, urlsplit

from extension_kit import Event, SettingError


class AuditTarget(Protocol):
    """Place that keeps events. Thread-safe, and shared with other processes."""

    def keep(self, event: Event) -> None:
        """Keep an event that may have been kept before: it is there once, and survives a power failure."""
        ...

    def problem(self) -> str | None:
        """Return the reason for which no event can be kept; None if there is none."""
        ...

    def close(self) -> None:
        """Close its connections."""
        ...


def open_target(url: str) -> AuditTarget:
    """Return the target of a URL. Nothing is opened before the first use.

    Raises:
        SettingError: the URL cannot be used. The message has neither the URL nor a password.
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        from .files import FileTarget

        if parts.netloc or not parts.path.strip("/"):
            raise SettingError("EXTENSION_AUDIT_TARGET cannot be used: a folder has three slashes, file:///FOLDER")
        return FileTarget(unquote(parts.path))
    if parts.scheme == "s3":
        from .objects import ObjectTarget

        if not parts.netloc:
            raise SettingError("EXTENSION_AUDIT_TARGET cannot be used: write s3://BUCKET/PREFIX")
        if find_spec("boto3") is None:
            raise SettingError(
                "EXTENSION_AUDIT_TARGET cannot be used: boto3 is not installed, run: pip install 'extension-kit[audit]'"
            )
        return ObjectTarget(parts.netloc, parts.path.strip("/"))
    from .rows import RowTarget

    return RowTarget.of(url)
