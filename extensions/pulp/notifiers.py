"""Notifiers: how the configuration of a listener becomes the target of a delivery (Pulp 2, notifier docs)."""

import json
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from extension_kit import GiveUp

from .settings import PulpSettings

NOTIFIERS = ("http", "email", "amqp")
"""The notifier types of Pulp. The kit's senders have the same names."""

DEFAULT_EXCHANGE = "amq.topic"
_MOST_SUBJECT = 200  # characters, of the kit's sender
PASSWORD = "password"  # noqa: S105 - the key of a configuration

_USED = {"http": ("url", "username", "ca_path"), "email": ("subject",), "amqp": ("exchange",)}
"""Keys of a configuration from which targets are made, beside the recipient and the password."""

Config = Mapping[str, Any]
"""The configuration of a listener, as a client sent it. Nothing in it is checked before it is used."""


def recipients(notifier: str, config: Config) -> list[str]:
    """Return the recipients of a listener, each of which gets deliveries of its own: addresses of e-mail, else one.

    Without addresses it is one, too, whose deliveries fail and show it.
    """
    if notifier != "email":
        return [""]
    addresses = config.get("addresses")
    if isinstance(addresses, str):
        addresses = [addresses]
    return list(dict.fromkeys(map(str, addresses))) or [""] if isinstance(addresses, list) else [""]


def recipient_hash(notifier: str, config: Config) -> str:
    """Return a hash of what a listener notifies: equal for listeners that an upsert regards as the same."""
    identity: Any = {"http": config.get("url"), "amqp": config.get("exchange") or DEFAULT_EXCHANGE}.get(notifier)
    if notifier == "email":
        identity = sorted(recipients(notifier, config))
    return sha256(json.dumps([notifier, identity], sort_keys=True).encode()).hexdigest()


def stored_target(notifier: str, config: Config, recipient: str, password: str | None) -> dict[str, Any]:
    """Return what the kit stores of a target, from which ``target`` makes that of each attempt.

    A listener may have many recipients, so the target of each has none of the others, and no key that is not used.

    Args:
        notifier: ``http``, ``email`` or ``amqp``.
        config: the configuration without its password.
        recipient: one of ``recipients``.
        password: the encrypted password.
    """
    url = config.get("url")
    host = url if notifier == "http" and isinstance(url, str) else ""  # the kit tells hosts apart by it
    used = {key: config[key] for key in _USED[notifier] if key in config}
    return {"url": host, "recipient": recipient, "config": used, "password": password}


class Notifiers:
    """Makes the target of each delivery from the configuration of its listener.

    Args:
        settings: the timeout of ``http`` notifiers, and the broker of ``amqp`` notifiers.
        ca_folder: folder of the PEM files that ``ca_path`` may name; empty: none.
    """

    def __init__(self, settings: PulpSettings, ca_folder: str) -> None:
        self._settings = settings
        self._ca_folder = ca_folder

    def target(self, notifier: str, config: Config, recipient: str, event_type: str) -> dict[str, Any]:
        """Return a target for the kit's sender.

        Raises:
            GiveUp: the configuration cannot be used; the message says why.
        """
        if notifier == "http":
            return self._http(config)
        if notifier == "email":
            return self._email(config, recipient)
        return self._amqp(config, event_type)

    def _http(self, config: Config) -> dict[str, Any]:
        url = config.get("url")
        if not isinstance(url, str) or not url:
            raise GiveUp("HTTP notifier configured without a URL; cannot fire event")
        made: dict[str, Any] = {"url": url, "ok": [200], "give_up_on": [], "timeout": self._settings.timeout}
        username, password = config.get("username"), config.get(PASSWORD)
        if username is not None and password is not None:
            made |= _credentials(str(username), str(password))
        if (ca_path := config.get("ca_path")) is not None:
            made["ca_file"] = self._ca_file(str(ca_path))
        return made

    def _ca_file(self, ca_path: str) -> str:
        """Return the path of a PEM file, which has to be in the folder.

        Raises:
            GiveUp: it is not, or there is no folder.
        """
        if not self._ca_folder:
            raise GiveUp("ca_path is set, but the server has no folder for it: EXTENSION_DELIVERY_CA_FOLDER")
        try:
            root = Path(self._ca_folder).resolve()
            path = (root / ca_path).resolve()
            found = path.is_relative_to(root) and path.is_file()
        except (OSError, ValueError):  # such as a name that is too long, or with U+0000
            found = False
        if not found:
            raise GiveUp(f"ca_path {ca_path!r:.200} is not a file in the folder of EXTENSION_DELIVERY_CA_FOLDER")
        return str(path)

    def _email(self, config: Config, recipient: str) -> dict[str, Any]:
        if not recipient:
            raise GiveUp("E-mail notifier configured without addresses")
        subject = config.get("subject")
        if not isinstance(subject, str):
            raise GiveUp("E-mail notifier configured without a subject")
        return {"to": [recipient], "subject_prefix": subject[:_MOST_SUBJECT]}

    def _amqp(self, config: Config, event_type: str) -> dict[str, Any]:
        if not self._settings.amqp_url:
            raise GiveUp("AMQP notifier without a broker: EXTENSION_PULP_AMQP_URL is not set")
        exchange = config.get("exchange") or DEFAULT_EXCHANGE
        if not isinstance(exchange, str):
            raise GiveUp("AMQP notifier configured with an exchange that is not a text")
        return {"url": self._settings.amqp_url, "exchange": exchange, "routing_key": f"pulp.server.{event_type}"}


def _credentials(username: str, password: str) -> dict[str, Any]:
    """Return the keys of a target for Basic authentication."""
    if username and ":" not in username:
        return {"username": username, "password": password}
    # Pulp sends such names, too, but the kit's sender takes them in a header only.
    encoded = b64encode(f"{username}:{password}".encode(errors="replace")).decode()
    return {"headers": {"Authorization": f"Basic {encoded}"}}
