"""Receivers on this machine."""

from tests.support.receivers import receiver, server

__all__ = [
    "receiver",
    "server",
]
