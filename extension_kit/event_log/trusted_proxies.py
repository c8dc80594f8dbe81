"""Proxies in front of the event log: their headers count only if the TCP peer is one of them."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from flask import Request


class TrustedProxies:
    """Proxies that sign people in, and name them in a header.

    Args:
        header: name of that header; empty: nobody is named by a header.
        networks: networks of the proxies.
    """

    def __init__(self, header: str, networks: Sequence[IPv4Network | IPv6Network]) -> None:
        self._header = header
        self._networks = networks

    def user(self, request: Request) -> str:
        """Return the user name of a request; empty if a proxy has not named one."""
        if not self._header or not self._sent(request):
            return ""
        value = request.headers.get(self._header, "")
        return value.encode("latin-1", "replace").decode("utf-8", "replace").strip()

    def client_address(self, request: Request) -> str:
        """Return the address of a client: the last one of X-Forwarded-For that is no proxy, if a proxy has sent it."""
        client = request.remote_addr or ""
        if self._sent(request):
            for text in reversed(request.headers.get("X-Forwarded-For", "").split(",")):
                if (address := _parsed(text.strip())) is None:
                    break
                client = str(address)
                if not self._includes(address):
                    break
        return client

    def is_encrypted(self, request: Request) -> bool:
        """Return True if the browser speaks TLS, to this server or to a proxy that says so."""
        forwarded = request.headers.get("X-Forwarded-Proto", "")
        return request.is_secure or (forwarded.lower() == "https" and self._sent(request))

    def _sent(self, request: Request) -> bool:
        """Return True if a proxy has sent a request."""
        peer = _parsed(request.remote_addr or "")
        return peer is not None and self._includes(peer)

    def _includes(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self._networks)


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    """Parse an address, an IPv4 address in IPv6's form as the former; None if it is none."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
