"""Messages about events."""

from typing import NamedTuple

from apprise import NotifyType

from extension_kit import Event, GiveUp
from extension_kit.templates import Template

_TYPES = {
    "completed": NotifyType.SUCCESS,
    "failed": NotifyType.FAILURE,
    "errored": NotifyType.FAILURE,
    "canceled": NotifyType.WARNING,
}


class Message(NamedTuple):
    """A message: plain texts, and the kind that channels show as colour or urgency."""

    title: str
    body: str
    type: NotifyType


class MessageTemplate:
    """Template of messages.

    Args:
        template: of the whole message; the first line is the title.
        link: of the address of a run, the variable ``link`` of the other one.
    """

    def __init__(self, template: Template, link: Template) -> None:
        self._template = template
        self._link = link

    def render(self, event: Event) -> Message:
        """Return the message about an event.

        Raises:
            GiveUp: the template fails for this event, or gives an empty message.
        """
        text = self._template.render(event, link=self._link.render(event).strip()).strip()
        title, _, body = text.partition("\n")
        if not title:
            raise GiveUp("EXTENSION_NOTIFY_TEMPLATE gives an empty message for this event")
        end = event.name.rpartition(".")[2].rpartition("-")[2]
        return Message(title, body.strip() or title, _TYPES.get(end, NotifyType.INFO))
