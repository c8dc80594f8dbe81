"""The events as decorated functions get them."""

from extension_kit.protocol import PublishedEvent

SOURCE = "eventhos"
"""Source of the events, and key of the subscriptions."""


class EventhosEvent(PublishedEvent):
    """An event of eventhos: any JSON value. Its name is ``eventhos.`` and the event identifier.

    ``data`` is the value.
    """

    @property
    def identifier(self) -> str:
        """Identifier of the event, such as ``new-employee-k736k3hiW7``."""
        return self.name.removeprefix(f"{SOURCE}.")
