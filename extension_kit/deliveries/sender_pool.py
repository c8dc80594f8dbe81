"""Sender pool: the senders of a process, made from its settings at the first use.

An extension with functions only imports none of them, and only users of a sender need its extra.
"""

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from extension_kit.errors import ConfigurationError
from extension_kit.senders import Sender
from extension_kit.senders.addresses import Addresses
from extension_kit.senders.ca_files import CaFiles
from extension_kit.senders.idle_connections import client_context
from extension_kit.settings.kit import Settings

if TYPE_CHECKING:
    from extension_kit.outgoing.proxies import Proxy
    from extension_kit.senders.http_calls import HttpCalls

PROTOCOL = "protocol"
"""Sender of subscriptions whose event protocol makes the attempts itself (``DeliveryFormat.send``)."""


class Senders:
    """Senders by name: ``http``, ``email``, ``amqp`` and ``nats``.

    Args:
        settings: the kit's settings.

    Raises:
        ConfigurationError: the file of trusted authorities (``delivery_ca_file``) cannot be used, or the folder of
            those that targets name (``delivery_ca_folder``) does not exist.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._addresses = Addresses(settings.delivery_allow_networks)
        self._ca_file = settings.delivery_ca_file or None
        if self._ca_file:
            client_context(self._ca_file)  # a bad file is an error at the start, not in the first delivery
        self._ca_files = CaFiles(settings.delivery_ca_folder or None)
        self._make: Mapping[str, Callable[[], Sender]] = {
            "http": self._http,
            "email": self._email,
            "amqp": self._amqp,
            "nats": self._nats,
        }
        self._made: dict[str, Sender] = {}
        self._calls: HttpCalls | None = None
        self._lock = threading.Lock()

    def get(self, name: str) -> Sender:
        """Return a sender.

        Raises:
            ConfigurationError: there is none of this name, or it cannot be used as this process is configured.
        """
        with self._lock:
            if name not in self._made:
                if name not in self._make:
                    raise ConfigurationError(f"there is no sender {name!r:.80}: {', '.join(self._make)} are there")
                self._made[name] = self._make[name]()
            return self._made[name]

    def check(self, sender: str, target: dict[str, Any]) -> dict[str, str]:
        """Return the problems of a sender's name or its target: sentences by key, such as ``target.url``.

        The target of the sender ``protocol`` is not checked: its protocol knows it.
        """
        if sender == PROTOCOL:
            return {}
        try:
            problems = self.get(sender).check(target)
        except ConfigurationError as error:
            return {"sender": str(error)}
        return {f"target.{key}": problem for key, problem in problems.items()}

    @property
    def http_calls(self) -> "HttpCalls":
        """Calls of event protocols, with the addresses, the proxy and the authorities of the HTTP sender."""
        from extension_kit.senders.http_calls import HttpCalls

        with self._lock:
            if self._calls is None:
                self._calls = HttpCalls(self._addresses, ca_file=self._ca_file, proxy=self._proxy)
            return self._calls

    def close(self) -> None:
        """Close the connections that senders keep open."""
        with self._lock:
            for sender in self._made.values():
                sender.close()
            if self._calls is not None:
                self._calls.close()

    @property
    def _proxy(self) -> "Proxy | None":
        from extension_kit.outgoing.proxies import Proxy

        return Proxy.parse(self._settings.delivery_proxy) if self._settings.delivery_proxy else None

    def _http(self) -> Sender:
        from extension_kit.senders.http import HttpSender

        return HttpSender(
            self._addresses,
            ca_file=self._ca_file,
            timeout=self._settings.delivery_timeout,
            proxy=self._proxy,
            ca_files=self._ca_files,
        )

    def _email(self) -> Sender:
        settings = self._settings
        if not settings.smtp_host:
            raise ConfigurationError("no e-mail can be sent without a mail server: set EXTENSION_SMTP_HOST")
        from extension_kit.senders.email import EmailSender

        return EmailSender(
            settings.smtp_host,
            sender=settings.smtp_sender,
            port=settings.smtp_port or None,
            security=settings.smtp_security,
            username=settings.smtp_username,
            password=settings.smtp_password,
            ca_file=self._ca_file,
            timeout=settings.delivery_timeout,
        )

    def _amqp(self) -> Sender:
        from extension_kit.senders.amqp import AmqpSender

        return AmqpSender(self._addresses, ca_file=self._ca_file, timeout=self._settings.delivery_timeout)

    def _nats(self) -> Sender:
        from extension_kit.senders.nats import NatsSender

        return NatsSender(self._addresses, ca_file=self._ca_file, timeout=self._settings.delivery_timeout)
