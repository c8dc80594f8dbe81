"""HTTP proxies: reads their URLs and the environment's proxy variables, and opens tunnels with CONNECT."""

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
    """A proxy did not open a tunnel. The message contains no secrets."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy. With the scheme ``https``, the connection to the proxy itself is encrypted.

    ``authorization`` is the value of its Proxy-Authorization header, empty if it needs none.
    """

    scheme: str
    host: str
    port: int
    authorization: str = field(default="", repr=False)

    @classmethod
    def parse(cls, url: str) -> Self:
        """Parse a URL such as ``http://user:password@proxy.example.com:3128``; in the password, @ is %40.

        Raises:
            ValueError: the text is not such a URL.
        """
        parts = urlsplit(url)
        if parts.scheme not in PORTS or not parts.hostname or parts.path.strip("/") or parts.query or parts.fragment:
            raise ValueError("a proxy's URL is needed")
        credentials = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        authorization = "" if credentials == ":" else f"Basic {b64encode(credentials.encode()).decode()}"
        return cls(parts.scheme, parts.hostname, parts.port or PORTS[parts.scheme], authorization)

    @property
    def secrets(self) -> set[str]:
        """The password and its encoded form, which no message may contain."""
        encoded = self.authorization.removeprefix("Basic ")
        return {encoded, b64decode(encoded).decode().partition(":")[2]} - {""}

    def open_tunnel(self, sock: TimedSocket, host: str, port: int) -> None:
        """Have the proxy connect ``sock`` to a host (CONNECT); later bytes go to that host.

        Raises:
            ProxyError: the proxy refused.
            OSError: the connection to the proxy broke, or the deadline has passed.
        """
        authority = f"{f'[{host}]' if ':' in host else host}:{port}"
        lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
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
    """Return the proxy of HTTP_PROXY, HTTPS_PROXY or ALL_PROXY; None if there is none or NO_PROXY names the host.

    The variables may be in upper or lower case. NO_PROXY holds domains, which include their subdomains, ``host:port``,
    addresses and networks, separated by commas; ``*`` alone means every host.

    Raises:
        ValueError: the variable does not hold the URL of a proxy.
    """
    found = urllib.request.getproxies_environment()
    url = found.get(scheme) or found.get("all")
    spellings = (host, f"{host}:{port}")
    if not url or any(map(urllib.request.proxy_bypass, spellings)) or _is_bypassed(host, found.get("no", "")):
        return None
    return Proxy.parse(url if "://" in url else f"http://{url}")


def _is_bypassed(host: str, bypassed: str) -> bool:
    """Return True if ``host`` is an address in one of the networks; urllib compares names only."""
    for network in filter(None, map(str.strip, bypassed.split(","))):
        try:
            if ip_address(host) in ip_network(network, strict=False):
                return True
        except ValueError:
            continue
    return False
