"""Receivers, as senders' tests have them."""

from tests.unit.senders.conftest import authority, ca_file, receiver, server, tls_for

__all__ = ["authority", "ca_file", "receiver", "server", "tls_for"]
