"""Channels: one service of apprise each, and how its failures go on."""

import logging
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import apprise

from extension_kit import GiveUp, NotReady, SettingError

from .messages import Message

_SECONDS = 20  # for a message, less than the kit allows a function
_NAMED = re.compile(r"(?:([A-Za-z0-9][A-Za-z0-9._-]{0,60})=)?(([A-Za-z0-9+.-]+)://.+)")
_SECRET_PART = re.compile(r"[A-Za-z0-9_.~%+-]{6,}")
_STATUS = re.compile(r"\berror=([1-5][0-9]{2})\b")
_TRY_AGAIN = frozenset({408, 425, 429})

# Its messages are in the errors of deliveries, without the parts of URLs.
logging.getLogger("apprise").propagate = False


class ChannelError(Exception):
    """A channel did not take a message; another attempt may succeed."""


class Channel(NamedTuple):
    """A channel: its name, the service that sends its messages, and its URL."""

    name: str
    service: apprise.NotifyBase
    url: str

    @classmethod
    def parse_all(cls, texts: Iterable[str]) -> "Iterator[Channel]":
        """Yield the channels of texts, each ``URL`` or ``NAME=URL``.

        Raises:
            SettingError: apprise cannot use a URL, or two channels have one name. The message has no URL.
        """
        names: set[str] = set()
        asset = apprise.AppriseAsset(storage_mode=apprise.PersistentStoreMode.MEMORY, secure_logging=True)
        asset.http_redirects = False
        asset.image_url_mask = asset.image_url_logo = ""  # messages name no picture on another server
        asset.app_id, asset.app_desc, asset.app_url = "extension-notify", "Steadybit experiments", ""
        for number, text in enumerate(texts, 1):
            found = _NAMED.fullmatch(text)
            service = apprise.Apprise.instantiate(found[2], asset=asset) if found else None
            if found is None or service is None:
                scheme = f" ({found[3]}://)" if found else ""
                raise SettingError(
                    f"EXTENSION_NOTIFY_URLS cannot be used: URL {number}{scheme} is no URL of apprise; "
                    "https://appriseit.com/services/ has the form of each service"
                )
            name = found[1] or _free_name(found[3].lower(), names)
            if name in names:
                raise SettingError(f"EXTENSION_NOTIFY_URLS cannot be used: two channels are called {name}")
            names.add(name)
            yield cls(name, service, found[2])

    def send(self, message: Message) -> None:
        """Send a message.

        Raises:
            NotReady: the service refuses the credentials.
            GiveUp: the service refuses the message, and would again.
            ChannelError: the service did not take it.
        """
        sender = apprise.Apprise(asset=self.service.asset)
        sender.add(self.service)
        result = sender.notify(
            title=message.title,
            body=message.body,
            notify_type=message.type,
            body_format=apprise.NotifyFormat.TEXT,
            timeout=_SECONDS,
        )
        if result:
            return
        reason = self._without_secrets(next((entry.message for entry in result.logs()), "no reason was given"))
        found = _STATUS.search(reason)
        status = int(found[1]) if found else 0
        if status in (401, 403):
            raise NotReady(f"{self.name}: {reason}")
        if 300 <= status < 500 and status not in _TRY_AGAIN:
            raise GiveUp(f"{self.name}: {reason}")
        raise ChannelError(f"{self.name}: {reason}")

    def _without_secrets(self, text: str) -> str:
        for part in sorted(set(_SECRET_PART.findall(self.url)), key=len, reverse=True):
            text = text.replace(part, "...")
        return text[:500]


def _free_name(scheme: str, names: set[str]) -> str:
    number = 1
    while (name := scheme if number == 1 else f"{scheme}-{number}") in names:
        number += 1
    return name
