"""Bodies of messages: events as they came, by a template, or as CloudEvents."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent

from extension_kit import Event, GiveUp, SettingError
from extension_kit.protocol import Message
from extension_kit.templates import Template

from .settings import WebhookSettings

_JSON = "application/json"


def message_maker(settings: WebhookSettings) -> Callable[[Event], Message]:
    """Return the function that makes the message for an event, in the form of the settings.

    Raises:
        SettingError: the template cannot be used.
    """
    if settings.format == "raw":
        return lambda event: Message(event.id, event.body)
    if settings.format == "template":
        return _by_template(settings.template_file, settings.content_type)
    return lambda event: _cloud_event(event, is_binary=settings.format == "cloudevents-binary")


def _by_template(file: str, content_type: str) -> Callable[[Event], Message]:
    name = "the template of EXTENSION_WEBHOOK_TEMPLATE_FILE"
    try:
        template = Template.parse(Path(file).read_text(encoding="utf-8"), name=name)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"{name} cannot be read: {type(error).__name__}") from error
    kind = content_type.partition(";")[0].strip().lower()
    is_json = kind == _JSON or kind.endswith("+json")
    escape: Literal["json", "html"] | None = "json" if is_json else "html" if kind == "text/html" else None

    def make_message(event: Event) -> Message:
        text = template.render(event, escape=escape)
        if is_json:
            try:
                json.loads(text)
            except ValueError as error:
                raise GiveUp(f"{name} makes no JSON of this event: {error}") from error
        return Message(event.id, text.encode(), content_type)

    return make_message


def _cloud_event(event: Event, *, is_binary: bool) -> Message:
    attributes = {
        "id": event.id,
        "source": _source(event),
        "type": event.name,
        "specversion": "1.0",
        "subject": event.subject,
        "time": event.time,
        "datacontenttype": _JSON,
    }
    known = {name: value for name, value in attributes.items() if value is not None}
    if is_binary:
        made = to_binary_event(CloudEvent(known, event.body))
    else:
        made = to_structured_event(CloudEvent(known, event.raw))
    headers = {name: value for name, value in made.headers.items() if name.lower() != "content-type"}
    content_type = next(value for name, value in made.headers.items() if name.lower() == "content-type")
    return Message(event.id, made.body, content_type, headers)


def _source(event: Event) -> str:
    """Return the source: the system and, of Steadybit, the tenant."""
    tenant = getattr(event, "tenant", None)
    return f"/{event.source}/{quote(tenant.key, safe='')}" if tenant and tenant.key else f"/{event.source}"
