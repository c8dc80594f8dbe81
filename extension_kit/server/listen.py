"""Ports, sockets and TLS context of a server, made before any process starts; errors of them are one line."""

import errno
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from extension_kit.errors import ConfigurationError
from extension_kit.observability.metrics_page import ReadBacklog
from extension_kit.server import tls
from extension_kit.server.health_port import HealthPort, ReadReasons
from extension_kit.settings.event_log import DEFAULT_PORT
from extension_kit.settings.kit import EVERY_ADDRESS, Settings

_EVERY_IPV4 = "0.0.0.0"  # noqa: S104


class _Port(NamedTuple):
    """Name of a port in messages, and the settings of its number and address."""

    title: str
    variable: str
    address_variable: str = "EXTENSION_BIND_ADDRESS"


_PORT = _Port("port", "STEADYBIT_EXTENSION_PORT")
_HEALTH_PORT = _Port("health port", "STEADYBIT_EXTENSION_HEALTH_PORT")
_EVENT_LOG_PORT = _Port("event log port", "EXTENSION_EVENT_LOG_PORT", "EXTENSION_EVENT_LOG_ADDRESS")


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """Return the TLS context for the settings, None for plain HTTP.

    Raises:
        ConfigurationError: a certificate or key cannot be used.
    """
    if not settings.tls_server_cert or not settings.tls_server_key:
        return None
    return tls.server_context(settings.tls_server_cert, settings.tls_server_key, settings.tls_client_cas)


def bind(settings: Settings) -> tuple[Sequence[str], str]:
    """Return the addresses that gunicorn binds, and their description for the log.

    Raises:
        ConfigurationError: the port or the socket's path cannot be used.
    """
    if settings.unix_socket:
        return _bind_unix_socket(Path(settings.unix_socket))
    # Bound once without SO_REUSEPORT: with it, two servers would share a port without an error.
    sockets, families = _bound(_PORT, settings.bind_address, settings.port)
    addresses = [each.getsockname()[:2] for each in sockets]
    for each in sockets:
        each.close()
    scheme = "https" if settings.tls_server_cert else "http"
    client = " (ClientAuth: RequireAndVerifyClientCert)" if settings.tls_client_cas else ""
    listening_on = f"{scheme} server on port {addresses[0][1]} ({families}){client}"
    return [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in addresses], listening_on


def _bind_unix_socket(path: Path) -> tuple[Sequence[str], str]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    except OSError as error:
        raise ConfigurationError(f"STEADYBIT_EXTENSION_UNIX_SOCKET: {path.parent}: {error.strerror}") from None
    if path.exists() and not path.is_socket():
        raise ConfigurationError(f"STEADYBIT_EXTENSION_UNIX_SOCKET: {path} exists and is not a socket")
    with socket.socket(socket.AF_UNIX) as probe:
        if probe.connect_ex(str(path)) == 0:
            raise ConfigurationError(
                f"STEADYBIT_EXTENSION_UNIX_SOCKET: a server already listens at {path}, stop it first"
            )
    return [f"unix:{path}"], f"http server on unix domain socket ({path})"


def health_port(
    settings: Settings, is_ready: Callable[[], bool], read_backlog: ReadBacklog, reasons: ReadReasons
) -> HealthPort | None:
    """Bind the health port. Return None with a unix socket.

    Raises:
        ConfigurationError: the port cannot be used.
    """
    if settings.unix_socket:
        return None  # its health endpoints are on the socket, so that many extensions fit on one host
    sockets, families = _bound(_HEALTH_PORT, settings.bind_address, settings.health_port)
    return HealthPort(sockets, families, is_ready, read_backlog, reasons)


def event_log_sockets(settings: Settings) -> Sequence[socket.socket]:
    """Bind the port of the event log.

    Raises:
        ConfigurationError: the port cannot be used.
    """
    port = DEFAULT_PORT if settings.event_log_port is None else settings.event_log_port
    return _bound(_EVENT_LOG_PORT, settings.event_log_address, port)[0]


def event_log_url(settings: Settings, port: int) -> str:
    """Return the address of the event log in a browser of this machine.

    Args:
        settings: the settings of the kit.
        port: the bound port.
    """
    host = settings.event_log_address
    scheme = "https" if settings.tls_server_cert else "http"
    shown = "localhost" if ip_address(host).is_unspecified else f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}:{port}/"


def _bound(name: _Port, host: str, port: int) -> tuple[list[socket.socket], str]:
    """Return listening sockets for a port, and the description of their addresses."""
    hosts, families = _hosts(host)
    with ExitStack() as opened:
        sockets = []
        for each in hosts:
            try:
                bound = opened.enter_context(socket.socket(socket.AF_INET6 if ":" in each else socket.AF_INET))
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                bound.bind((each, port))
                bound.listen()  # a port in use may be reported only here
            except OSError as error:
                hint = ""
                if error.errno == errno.EADDRINUSE:
                    hint = f": stop the process that uses it or set {name.variable}"
                elif error.errno == errno.EACCES:
                    hint = f": set {name.variable} to a port above 1023, or grant the process CAP_NET_BIND_SERVICE"
                elif error.errno == errno.EADDRNOTAVAIL:
                    hint = f": set {name.address_variable} to an address of this machine"
                raise ConfigurationError(
                    f"{name.title} {port} on {host} cannot be used ({error.strerror}){hint}"
                ) from None
            port = bound.getsockname()[1]
            sockets.append(bound)
        opened.pop_all()
    return sockets, families


def _hosts(host: str) -> tuple[list[str], str]:
    """Return the addresses to bind for EXTENSION_BIND_ADDRESS, and their description."""
    if host != EVERY_ADDRESS:
        return [host], host
    try:
        with socket.socket(socket.AF_INET6) as probe:
            # The machine's default, because gunicorn does not set this option on its socket.
            takes_ipv6_alone = probe.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
            probe.bind((host, 0))
    except OSError:
        return [_EVERY_IPV4], "IPv4, this machine has no IPv6"
    return [_EVERY_IPV4, host] if takes_ipv6_alone else [host], "IPv4 and IPv6"
