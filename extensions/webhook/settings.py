"""Settings of the extension, which are read when it is served."""

import re
from dataclasses import dataclass
from typing import Literal

from extension_kit import SettingError
from extension_kit.protocol import EVENT_NAMES, FILE, NAMES, TEXT, URL, Kind, one_of, setting

_MOST_URLS = 50
_CONTENT_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+(; *[\w-]+=[\w.-]+)*", re.ASCII)
_HEADER = re.compile(r"([A-Za-z0-9-]+): *([\x20-\x7e]+)")


def _urls(text: str) -> tuple[str, ...]:
    urls = tuple(dict.fromkeys(URL.parse(url) for url in text.split()))
    if not 0 < len(urls) <= _MOST_URLS:
        raise ValueError(text)
    return urls


def _content_type(text: str) -> str:
    if not _CONTENT_TYPE.fullmatch(text):
        raise ValueError(text)
    return text


def _headers(text: str) -> tuple[tuple[str, str], ...]:
    lines = text.splitlines() if "\n" in text.strip() else text.split(";")
    found = [_HEADER.fullmatch(line.strip()) for line in lines if line.strip()]
    if not all(found) or not found:
        raise ValueError(text)
    return tuple((header[1], header[2].strip()) for header in found if header)


URLS = Kind(_urls, f"up to {_MOST_URLS} URLs with http or https, separated by blanks")
CONTENT_TYPE = Kind(_content_type, "a content type such as text/plain; charset=utf-8")
HEADERS = Kind(_headers, "Name: value, separated by semicolons, or one per line")


@dataclass(frozen=True)
class WebhookSettings:
    """Destination, choice and form of the events that are sent.

    Raises:
        SettingError: a setting is missing, or two contradict each other.
    """

    urls: tuple[str, ...] = setting(
        "EXTENSION_WEBHOOK_URL",
        (),
        URLS,
        "URL that events are sent to. Each of several has deliveries of its own. Needed.",
        secret=True,
    )
    events: tuple[str, ...] = setting(
        "EXTENSION_WEBHOOK_EVENTS", ("*",), EVENT_NAMES, "Events to send, by their names or patterns."
    )
    teams: tuple[str, ...] = setting(
        "EXTENSION_WEBHOOK_TEAMS", (), NAMES, "Teams whose events are sent, by key or name. Unset: all events."
    )
    environments: tuple[str, ...] = setting(
        "EXTENSION_WEBHOOK_ENVIRONMENTS",
        (),
        NAMES,
        "Environments whose events are sent, by id or name. Unset: all events.",
    )
    format: Literal["raw", "template", "cloudevents", "cloudevents-binary"] = setting(
        "EXTENSION_WEBHOOK_FORMAT",
        "raw",
        one_of("raw", "template", "cloudevents", "cloudevents-binary"),
        "Form of the body: raw, as the agent sent it; by a template; or a CloudEvent, with its attributes in the "
        "body or, as cloudevents-binary, in headers.",
    )
    template_file: str = setting(
        "EXTENSION_WEBHOOK_TEMPLATE_FILE",
        "",
        FILE,
        "File with the template, in Jinja2. Needed for the format template.",
    )
    content_type: str = setting(
        "EXTENSION_WEBHOOK_CONTENT_TYPE",
        "application/json",
        CONTENT_TYPE,
        "Content type of bodies by a template. In JSON, the values that it prints are escaped for texts within "
        "quotation marks; in HTML for HTML.",
    )
    secret: str = setting(
        "EXTENSION_WEBHOOK_SECRET",
        "",
        TEXT,
        "Secret for signatures by Standard Webhooks: `whsec_` and 24 to 64 bytes in base64. Several are separated by "
        "blanks, while a receiver changes its own. Unset: no signature.",
        secret=True,
    )
    headers: tuple[tuple[str, str], ...] = setting(
        "EXTENSION_WEBHOOK_HEADERS", (), HEADERS, "Further headers, such as those that authorize.", secret=True
    )

    def __post_init__(self) -> None:
        if not self.urls:
            raise SettingError("EXTENSION_WEBHOOK_URL is not set: write the URL that events are to be sent to")
        if self.format == "template" and not self.template_file:
            raise SettingError("EXTENSION_WEBHOOK_TEMPLATE_FILE is not set: it is needed for the format template")
        if self.format != "template" and self.template_file:
            raise SettingError(
                f"EXTENSION_WEBHOOK_TEMPLATE_FILE has no use in the format {self.format}: set "
                "EXTENSION_WEBHOOK_FORMAT=template"
            )
        if self.format != "template" and self.content_type != "application/json":
            raise SettingError(f"EXTENSION_WEBHOOK_CONTENT_TYPE has no use in the format {self.format}: leave it out")
