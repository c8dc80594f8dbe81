"""Settings of an extension are typed; one without settings is written and annotated as before."""

from dataclasses import dataclass
from typing import assert_type

from extension_kit import Event, Extension, SettingError
from extension_kit.protocol import EVENT_NAMES, FILE, NAMES, TEXT, URL, setting
from extension_kit.testing.agent import InMemoryAgent


@dataclass(frozen=True)
class OncallSettings:
    url: str = setting("EXTENSION_ONCALL_URL", "", URL, "Address of the desk.")
    token: str = setting("EXTENSION_ONCALL_TOKEN", "", TEXT, "Token.", secret=True)
    channels: tuple[str, ...] = setting("EXTENSION_ONCALL_CHANNELS", ("desk",), NAMES, "Channels.")
    events: tuple[str, ...] = setting("EXTENSION_ONCALL_EVENTS", ("*",), EVENT_NAMES, "Events.")
    template: str = setting("EXTENSION_ONCALL_TEMPLATE", "", FILE, "Template.")
    wrong: int = setting("EXTENSION_ONCALL_WRONG", "", TEXT, "Not a number.")  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if not self.url:
            raise SettingError("EXTENSION_ONCALL_URL is not set")


extension = Extension("extension-oncall", settings=OncallSettings)
assert_type(extension, Extension[OncallSettings])
assert_type(extension.settings.url, str)
assert_type(extension.settings_class, type[OncallSettings] | None)
extension.settings.ulr  # type: ignore[attr-defined]
Extension("extension-oncall", settings=OncallSettings())  # type: ignore[arg-type]
Extension("extension-oncall", settings=str)  # type: ignore[type-var]


@extension.configure
def add_channels(settings: OncallSettings) -> None:
    for channel in settings.channels:
        extension.listen_to(*settings.events, name=channel)(page)


@extension.configure  # type: ignore[arg-type]
def takes_something_else(settings: str) -> None: ...


def page(event: Event) -> None:
    print(extension.settings.url, event.name)


plain = Extension("extension-plain")
plain.settings.url  # type: ignore[attr-defined]


def a_fixture() -> Extension:
    return extension


def another_fixture(plain: Extension = plain) -> InMemoryAgent:
    return InMemoryAgent(extension if plain.settings_class is None else plain)
