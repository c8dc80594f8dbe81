"""Records: events in the form in which every target keeps them."""

from typing import Any

from extension_kit import Event


def record_of(event: Event) -> dict[str, Any]:
    """Return the record of an event: its head, the same for every protocol, and its body as it was sent."""
    principal = event.principal
    return {
        "id": event.id,
        "name": event.name,
        "source": event.source,
        "time": event.time.isoformat() if event.time else None,
        "subject": event.subject,
        "tenant": event.tenant.key if event.tenant else None,
        "team": event.team.key if event.team else None,
        "principal": principal.display_name if principal else None,
        "body": event.raw,
    }
