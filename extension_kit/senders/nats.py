"""NATS sender: publishes messages to subjects of JetStream's streams. Needs the extra ``nats``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from extension_kit.errors import ConfigurationError
from extension_kit.senders import Message, Outcome
from extension_kit.senders.broker_sender import BrokerSender
from extension_kit.senders.excerpts import excerpt, reason
from extension_kit.senders.nats_target import NatsServer, NatsTarget, parse_server_url
from extension_kit.senders.traced import traced

if TYPE_CHECKING:
    from extension_kit.senders.nats_connection import NatsConnection

_MISSING = "nats-py is not installed: pip install 'extension-kit[nats]'"
_BAD_REQUEST = 400  # of JetStream, as for a message that is too large for the stream


class NatsSender(BrokerSender["NatsServer", "NatsConnection"]):
    """Publishes messages to subjects: stored and confirmed by a stream of JetStream, and to checked addresses only.

    ``Nats-Msg-Id`` is the message's id, so a stream keeps one of those that are repeated within its duplicate window.

    A target has these keys:

    - ``url``: ``nats://user:password@host:port`` or ``nats://token@host``; with ``tls``, the server has to speak TLS.
    - ``subject``: without wildcards. A stream has to take it.
    - ``stream``: the name of that stream, if no other may take the message.
    - ``credentials``: the text of a credentials file (``.creds``), in place of a login in the URL.
    - ``timeout``: seconds until the stream's confirmation.

    Args:
        addresses: resolves and checks hosts.
        ca_file: PEM file with CA certificates to trust instead of the system's.
        timeout: seconds for targets without a timeout.

    Raises:
        ConfigurationError: ``ca_file`` cannot be used.
    """

    schema = NatsTarget()
    reserved_headers = frozenset({"content-type", "nats-msg-id", "nats-expected-stream"})

    @traced("publish", {"messaging.system": "nats"}, with_headers=True)
    def send(self, target: dict[str, Any], message: Message) -> Outcome:
        """Make one attempt; it fails if no stream confirms the message in time."""
        return self.attempt(target, message)

    def parse(self, url: str) -> NatsServer:
        return parse_server_url(url)

    def login(self, keys: Mapping[str, Any]) -> str:
        credentials: str = keys["credentials"]
        return credentials

    def import_library(self) -> None:
        _connection_class()

    def dial(self, broker: NatsServer, address: str, keys: Mapping[str, Any], seconds: float) -> NatsConnection:
        context = self.context if broker.scheme == "tls" else None
        return _connection_class()(broker, address, keys["credentials"], context, seconds)

    def failure(self, broker: NatsServer, error: BaseException) -> Outcome:
        code = getattr(error, "code", None)
        if isinstance(error, OSError):
            said = reason(error)
        else:
            from extension_kit.outgoing.nats_client import reason_of_nats  # imported with the connection's class

            said = reason_of_nats(error)
        told = excerpt(said, [broker.password, broker.token])
        if not code:
            return Outcome("failed", f"{broker.host}: {told or 'failed'}")
        return Outcome("refused" if code == _BAD_REQUEST else "failed", f"{broker.host}: answered {code}", code, told)


def _connection_class() -> type[NatsConnection]:
    """Import the class that needs nats-py.

    Raises:
        ConfigurationError: nats-py is not installed.
    """
    try:
        from extension_kit.senders.nats_connection import NatsConnection
    except ImportError:
        raise ConfigurationError(_MISSING) from None
    return NatsConnection
