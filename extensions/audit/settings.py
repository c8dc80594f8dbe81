"""Settings of the extension."""

from dataclasses import dataclass

from extension_kit.protocol import EVENT_NAMES, TEXT, setting


@dataclass(frozen=True)
class AuditSettings:
    """Settings of the extension."""

    target: str = setting(
        "EXTENSION_AUDIT_TARGET",
        "",
        TEXT,
        "Place of the events: `file:///FOLDER`, `postgresql://USER:PASSWORD@HOST/DATABASE`, `sqlite:///FILE`, another "
        "URL of SQLAlchemy, or `s3://BUCKET/PREFIX`, with the variables of AWS for credentials, region and endpoint.",
        secret=True,
    )
    events: tuple[str, ...] = setting("EXTENSION_AUDIT_EVENTS", ("*",), EVENT_NAMES, "Events to keep.")
