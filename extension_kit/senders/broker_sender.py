"""Broker sender: base of the senders that publish to the server in a target's URL, on connections that are kept."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from marshmallow import ValidationError

from extension_kit.errors import ConfigurationError
from extension_kit.senders import Message, Outcome
from extension_kit.senders.addresses import Addresses, NotAllowedError, UnresolvedError
from extension_kit.senders.idle_connections import IdleConnections, NoConnectionError, client_context, dial_first
from extension_kit.senders.target_schema import Target, check_headers, not_sent

_IDLE_CONNECTIONS = 16
IDLE_SECONDS = 15.0
"""Seconds for which an idle connection is kept."""


class Broker(Protocol):
    """A server and the login for it."""

    @property
    def host(self) -> str:
        """The name or address in the URL."""

    @property
    def port(self) -> int:
        """The TCP port."""


class BrokerConnection(Protocol):
    """A connection to a server, which confirms every message."""

    def publish(self, keys: Mapping[str, Any], message: Message, ends_at: float) -> None:
        """Publish a message and wait for the confirmation.

        Raises:
            Exception: there is none until ``ends_at``, a moment of ``time.monotonic``, or the server refuses.
        """

    def is_usable(self, ends_at: float) -> bool:
        """Return True if the server has not closed the connection while it was idle."""

    def close(self) -> None:
        """Close the connection as the protocol demands it."""

    def abandon(self) -> None:
        """Close the connection without a word, because the server may be gone."""


S = TypeVar("S", bound=Broker)
C = TypeVar("C", bound=BrokerConnection)


class BrokerSender(ABC, Generic[S, C]):
    """Base of the senders for brokers: one attempt at a time publishes on a connection, which is kept for the next.

    Args:
        addresses: resolves and checks hosts.
        ca_file: PEM file with CA certificates to trust instead of the system's.
        timeout: seconds for targets without a timeout.

    Raises:
        ConfigurationError: ``ca_file`` cannot be used.
    """

    schema: ClassVar[Target]
    reserved_headers: ClassVar[frozenset[str]] = frozenset()
    """Names of headers, in lower case, that a message may not have."""

    def __init__(self, addresses: Addresses, *, ca_file: str | None = None, timeout: float = 15.0) -> None:
        self.context = client_context(ca_file)
        self._addresses = addresses
        self._timeout = timeout
        self._idle: IdleConnections[C] = IdleConnections(
            lambda connection: connection.close(), limit=_IDLE_CONNECTIONS, seconds=IDLE_SECONDS
        )

    @abstractmethod
    def import_library(self) -> None:
        """Import what the extra of this sender installs.

        Raises:
            ConfigurationError: it is not installed.
        """

    @abstractmethod
    def parse(self, url: str) -> S:
        """Return the server of a valid URL."""

    @abstractmethod
    def dial(self, broker: S, address: str, keys: Mapping[str, Any], seconds: float) -> C:
        """Connect to an address of a server within a number of seconds.

        Raises:
            Exception: there is no connection.
        """

    @abstractmethod
    def failure(self, broker: S, error: BaseException) -> Outcome:
        """Return the outcome for an error of a connection."""

    def login(self, keys: Mapping[str, Any]) -> str:
        """Return what a target logs in with, beside its URL: others do not share its connections."""
        return ""

    def check(self, target: dict[str, Any]) -> dict[str, str]:
        """Return the problems of a target by key, also if the library is not installed."""
        problems = self.schema.problems(target)
        try:
            self.import_library()
        except ConfigurationError as error:
            problems.setdefault("url", str(error))
        return problems

    def close(self) -> None:
        """Close the idle connections."""
        self._idle.close()

    def attempt(self, target: dict[str, Any], message: Message) -> Outcome:
        """Make one attempt, which ends within the target's timeout."""
        try:
            keys = self.schema.load(target)
            check_headers(message.headers, self.reserved_headers)
        except ValidationError as error:
            return not_sent(error)
        broker = self.parse(keys["url"])
        ends_at = time.monotonic() + (keys["timeout"] or self._timeout)
        try:
            self.import_library()
            self._publish(broker, keys, message, ends_at)
        except NotAllowedError as error:
            return Outcome("refused", str(error))
        except ConfigurationError as error:
            return Outcome("failed", str(error))
        except UnresolvedError as error:
            return Outcome("failed", str(error), unreachable=True)
        except NoConnectionError as error:
            return replace(self.failure(broker, error.cause), unreachable=error.unreachable)
        except Exception as error:  # clients of brokers raise undeclared errors, too, when a connection breaks
            return self.failure(broker, error)
        return Outcome("delivered")

    def _publish(self, broker: S, keys: Mapping[str, Any], message: Message, ends_at: float) -> None:
        addresses = self._addresses.resolve(broker.host, broker.port, ends_at - time.monotonic())
        login = self.login(keys)
        found = self._idle_connection(broker, addresses, login, ends_at)
        key, connection = found or dial_first(
            addresses,
            ends_at,
            lambda address, seconds: ((broker, address, login), self.dial(broker, address, keys, seconds)),
        )
        try:
            connection.publish(keys, message, ends_at)
        except BaseException:
            connection.abandon()
            raise
        self._idle.release(key, connection)

    def _idle_connection(
        self, broker: S, addresses: Collection[str], login: str, ends_at: float
    ) -> tuple[tuple[S, str, str], C] | None:
        for address in addresses:
            key = (broker, address, login)
            while connection := self._idle.acquire(key):
                if connection.is_usable(ends_at):
                    return key, connection
                connection.abandon()
        return None
