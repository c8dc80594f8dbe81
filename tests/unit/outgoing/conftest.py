"""Receivers, as senders' tests have them."""

from tests.support.certificates import authority, ca_file, tls_for
from tests.support.receivers import receiver, server

__all__ = ["authority", "ca_file", "receiver", "server", "tls_for"]
