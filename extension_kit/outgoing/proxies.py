"""Proxies: how their URLs are read, and how a way through one is opened."""

import urllib.request
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from http.client import HTTPException
from ipaddress import ip_address, ip_network
from typing import Self
from urllib.parse import unquote, urlsplit

from extension_kit.outgoing.deadlines import TimedSocket
from extension_kit.outgoing.response import FinalResponse

PORTS = {"http": 80, "https": 443}


class ProxyError(Exception):
    """A proxy does not open the way; the message says so without secrets."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy of HTTP: ``https`` means that the connection to itself is encrypted.

    ``authorization`` is the value of the header that it wants, or empty.
    """

    scheme: str
    host: str
    port: int
    authorization: str = field(default="", repr=False)

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read ``http://user:password@proxy.example.com:3128``; in the password, @ is %40.

        Raises:
            ValueError: it is no such URL.
        """
        parts = urlsplit(url)
        if parts.scheme not in PORTS or not parts.hostname or parts.path.strip("/") or parts.query or parts.fragment:
            raise ValueError("a proxy's URL is needed")
        credentials = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        authorization = "" if credentials == ":" else f"Basic {b64encode(credentials.encode()).decode()}"
        return cls(parts.scheme, parts.hostname, parts.port or PORTS[parts.scheme], authorization)

    @property
    def secrets(self) -> set[str]:
        """What must be seen in no text."""
        encoded = self.authorization.removeprefix("Basic ")
        return {encoded, b64decode(encoded).decode().partition(":")[2]} - {""}

    def open_way(self, sock: TimedSocket, host: str, port: int) -> None:
        """Have the proxy connect to a host (CONNECT); what is sent from then on is sent there.

        Raises:
            ProxyError: it does not, and says so.
            OSError: the connection to it broke, or the time is up.
        """
        way = f"{f'[{host}]' if ':' in host else host}:{port}"
        lines = [f"CONNECT {way} HTTP/1.1", f"Host: {way}"]
        if self.authorization:
            lines.append(f"Proxy-Authorization: {self.authorization}")
        sock.sendall("\r\n".join([*lines, "", ""]).encode())
        response = FinalResponse(sock, method="CONNECT")
        try:
            response.begin()
        except HTTPException:
            raise ProxyError(f"the proxy {self.host} does not answer in HTTP") from None
        finally:
            response.close()
        if not 200 <= response.status < 300:
            raise ProxyError(f"the proxy {self.host} answered {response.status}")


def proxy_of_environment(scheme: str, host: str, port: int) -> Proxy | None:
    """The proxy that HTTP_PROXY, HTTPS_PROXY or ALL_PROXY name, in either case, unless NO_PROXY names the host.

    NO_PROXY holds names, with those below them, ``host:port``, addresses and networks, separated by commas, or ``*``
    alone, for all.

    Raises:
        ValueError: the URL is not one of a proxy.
    """
    found = urllib.request.getproxies_environment()
    url = found.get(scheme) or found.get("all")
    spellings = (host, f"{host}:{port}")
    if not url or any(map(urllib.request.proxy_bypass, spellings)) or _is_spared(host, found.get("no", "")):
        return None
    return Proxy.parse(url if "://" in url else f"http://{url}")


def _is_spared(host: str, spared: str) -> bool:
    """Whether networks hold an address: urllib knows names only."""
    for network in filter(None, map(str.strip, spared.split(","))):
        try:
            if ip_address(host) in ip_network(network, strict=False):
                return True
        except ValueError:
            continue
    return False
