"""Settings of the extension, which are read when it is served."""

import re
from dataclasses import dataclass

from extension_kit import ConfigurationError, http
from extension_kit.protocol import NAMES, TEXT, URL, Kind, SettingError, setting

from .tags import MOST_TAG_CHARACTERS

_SITES = "datadoghq.com, datadoghq.eu, us3.datadoghq.com, us5.datadoghq.com, ap1.datadoghq.com, ddog-gov.com or another"


def _site(text: str) -> str:
    name = text.strip().lower()
    if not re.fullmatch(r"[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63}){1,9}", name):
        raise ValueError(text)
    return name


@dataclass(frozen=True)
class DatadogSettings:
    """The organization of Datadog that gets the events, and tags of one's own."""

    api_key: str = setting("EXTENSION_DATADOG_API_KEY", "", TEXT, "API key of the organization. Needed.", secret=True)
    site: str = setting(
        "EXTENSION_DATADOG_SITE",
        "datadoghq.com",
        Kind(_site, _SITES),
        "Site of the organization; events go to `https://api.` and this name.",
    )
    url: str = setting(
        "EXTENSION_DATADOG_URL",
        "",
        URL,
        "Address of Datadog's API in place of that of the site, such as a proxy of one's own.",
    )
    tags: tuple[str, ...] = setting(
        "EXTENSION_DATADOG_TAGS",
        (),
        NAMES,
        "Tags that each event gets beside its own, separated by commas, such as `env:prod,owner:sre`.",
    )

    def __post_init__(self) -> None:
        """Refuse settings with which no event can be sent.

        Raises:
            SettingError: the message names the setting and says how to write it.
        """
        if not self.api_key:
            raise SettingError("EXTENSION_DATADOG_API_KEY is not set: write an API key of your organization")
        if not re.fullmatch("[!-~]+", self.api_key):
            raise SettingError("EXTENSION_DATADOG_API_KEY cannot be used: a key has only letters, digits and signs")
        try:
            http.Client(self.address)
        except ConfigurationError as error:
            raise SettingError(f"EXTENSION_DATADOG_URL cannot be used: {error}") from None
        if any(len(tag) > MOST_TAG_CHARACTERS for tag in self.tags):
            raise SettingError(f"EXTENSION_DATADOG_TAGS has a tag of more than {MOST_TAG_CHARACTERS} characters")

    @property
    def address(self) -> str:
        """The address of the API."""
        return self.url or f"https://api.{self.site}"
