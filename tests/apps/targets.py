"""An extension with a target, whose URL and secret are in the environment."""

import os

from extension_kit import Event, Extension
from extension_kit.protocol import Message

extension = Extension("extension-targets")


def make_message(event: Event) -> Message:
    """Make the body of the event's name; a killswitch has none."""
    if event.is_killswitch:
        raise ValueError("a killswitch has no run")
    return Message(event.id, event.body)


extension.add_target(
    "*",
    name="hook",
    target=lambda: {"url": os.environ["HOOK_URL"], "secret": os.environ["HOOK_SECRET"]},
    make_message=make_message,
    retry=[0.05] * 20,
)
