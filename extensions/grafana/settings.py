"""Settings of the extension, which are read when it is served."""

import re
from dataclasses import dataclass

from extension_kit import ConfigurationError, http
from extension_kit.protocol import NAMES, TEXT, TRUE_OR_FALSE, URL, SettingError, setting, whole_number

from .tags import MOST_OWN_TAGS_BYTES, size_of

_MOST_PANEL = 2**31 - 1


@dataclass(frozen=True)
class GrafanaSettings:
    """Where annotations are made, with which token, of which events and with which tags of one's own."""

    url: str = setting(
        "EXTENSION_GRAFANA_URL",
        "",
        URL,
        "Address of Grafana, with the path that it is served under, if any. Needed.",
    )
    token: str = setting(
        "EXTENSION_GRAFANA_TOKEN",
        "",
        TEXT,
        "Token of a service account that may create, write and read annotations (role Editor). Needed.",
        secret=True,
    )
    steps: bool = setting(
        "EXTENSION_GRAFANA_STEPS",
        default=False,
        kind=TRUE_OR_FALSE,
        meaning="true also annotates each step of a run.",
    )
    dashboard: str = setting(
        "EXTENSION_GRAFANA_DASHBOARD",
        "",
        TEXT,
        "UID of the dashboard that shows the annotations. Unset: annotations of the organization, which every "
        "dashboard can show by their tags.",
    )
    panel: int = setting(
        "EXTENSION_GRAFANA_PANEL",
        0,
        whole_number(0, _MOST_PANEL),
        "Number of the panel of that dashboard that shows the annotations; 0: all of its panels.",
    )
    tags: tuple[str, ...] = setting(
        "EXTENSION_GRAFANA_TAGS",
        (),
        NAMES,
        "Tags that each annotation gets beside its own, separated by commas, such as `chaos,cluster:prod`.",
    )

    def __post_init__(self) -> None:
        """Refuse settings with which no annotation can be made.

        Raises:
            SettingError: the message names the setting and says how to write it.
        """
        if not self.url:
            raise SettingError(
                "EXTENSION_GRAFANA_URL is not set: write the address of Grafana, such as http://host:3000"
            )
        try:
            http.Client(self.url)
        except ConfigurationError as error:
            raise SettingError(f"EXTENSION_GRAFANA_URL cannot be used: {error}") from None
        if not self.token:
            raise SettingError("EXTENSION_GRAFANA_TOKEN is not set: write the token of a service account of Grafana")
        if not re.fullmatch("[!-~]+", self.token):
            raise SettingError("EXTENSION_GRAFANA_TOKEN cannot be used: a token has only letters, digits and signs")
        if self.panel and not self.dashboard:
            raise SettingError("EXTENSION_GRAFANA_PANEL needs EXTENSION_GRAFANA_DASHBOARD, the UID of its dashboard")
        if size_of(self.tags) > MOST_OWN_TAGS_BYTES:
            raise SettingError(f"EXTENSION_GRAFANA_TAGS is too long: {MOST_OWN_TAGS_BYTES} bytes in all are allowed")
