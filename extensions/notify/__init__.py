"""Sends a message when an experiment run ends badly: to Slack, Teams, PagerDuty, mail and others, by apprise."""

from collections.abc import Callable

from extension_kit import Event, Extension, SettingError
from extension_kit.templates import Template

from .channels import Channel
from .messages import MessageTemplate
from .settings import NotifySettings

PATH = "/events/notify"

extension = Extension("extension-notify", settings=NotifySettings)


@extension.configure
def add_channels(settings: NotifySettings) -> None:
    """Register a listener for each channel, so that one which is out of order holds up no other."""
    if not settings.urls:
        raise SettingError("EXTENSION_NOTIFY_URLS is not set: name a channel, such as slack://TOKEN_A/TOKEN_B/TOKEN_C")
    message = MessageTemplate(
        Template.parse(settings.template, name="EXTENSION_NOTIFY_TEMPLATE", variables=["link"]),
        Template.parse(settings.link, name="EXTENSION_NOTIFY_LINK"),
    )
    for channel in Channel.parse_all(settings.urls):
        extension.listen_to(*settings.events, name=channel.name, path=PATH)(_sender(channel, message))


def _sender(channel: Channel, message: MessageTemplate) -> Callable[[Event], None]:
    def send(event: Event) -> None:
        channel.send(message.render(event))

    return send
