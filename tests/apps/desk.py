"""Rings at the desks that its settings name: an extension whose settings decide its listeners."""

from dataclasses import dataclass

from extension_kit import Event, Extension, SettingError
from extension_kit.protocol import EVENT_NAMES, NAMES, TEXT, setting


@dataclass(frozen=True)
class DeskSettings:
    desks: tuple[str, ...] = setting("EXTENSION_DESK_NAMES", (), NAMES, "Desks to ring at.")
    events: tuple[str, ...] = setting("EXTENSION_DESK_EVENTS", ("killswitch.*",), EVENT_NAMES, "Events to ring for.")
    token: str = setting("EXTENSION_DESK_TOKEN", "", TEXT, "Token of the bell.", secret=True)

    def __post_init__(self) -> None:
        if not self.desks:
            raise SettingError("EXTENSION_DESK_NAMES is not set: write the names of desks, such as front,back")


extension = Extension("extension-desk", settings=DeskSettings)


@extension.configure
def add_desks(settings: DeskSettings) -> None:
    if "roof" in settings.desks:
        raise LookupError("there is no desk on the roof")
    for desk in settings.desks:

        def ring(event: Event, desk: str = desk) -> None:
            print(f"ringing at the {desk} desk: {event.name}, {extension.settings.token}", flush=True)

        extension.listen_to(*settings.events, name=desk, path=f"/events/desk/{desk}")(ring)
