"""Ports, sockets and TLS context of a server, made before any process starts; errors of them are one line."""

import errno
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from extension_kit.errors import ConfigurationError
from extension_kit.observability.metrics_page import ReadBacklog
from extension_kit.server import tls
from extension_kit.server.health_port import HealthPort
from extension_kit.settings.kit import EVERY_ADDRESS, Settings

_EVERY_IPV4 = "0.0.0.0"  # noqa: S104


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
    sockets, families = _bound(settings.bind_address, settings.port, "port", "STEADYBIT_EXTENSION_PORT")
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


def health_port(settings: Settings, is_ready: Callable[[], bool], read_backlog: ReadBacklog) -> HealthPort | None:
    """Bind the health port. Return None with a unix socket.

    Raises:
        ConfigurationError: the port cannot be used.
    """
    if settings.unix_socket:
        return None  # its health endpoints are on the socket, so that many extensions fit on one host
    sockets, families = _bound(
        settings.bind_address, settings.health_port, "health port", "STEADYBIT_EXTENSION_HEALTH_PORT"
    )
    return HealthPort(sockets, families, is_ready, read_backlog)


def _bound(host: str, port: int, name: str, variable: str) -> tuple[list[socket.socket], str]:
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
                    hint = f": stop the process that uses it or set {variable}"
                elif error.errno == errno.EACCES:
                    hint = f": set {variable} to a port above 1023, or grant the process CAP_NET_BIND_SERVICE"
                elif error.errno == errno.EADDRNOTAVAIL:
                    hint = ": set EXTENSION_BIND_ADDRESS to an address of this machine"
                raise ConfigurationError(f"{name} {port} on {host} cannot be used ({error.strerror}){hint}") from None
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
