"""Where a server listens, found out before anything is started: what is taken or missing is one clear line."""

import socket
import ssl
from collections.abc import Callable
from pathlib import Path

from extension_kit import tls
from extension_kit.errors import ConfigurationError
from extension_kit.metrics_page import ReadBacklog
from extension_kit.probes import ProbesServer
from extension_kit.settings import Settings


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """The TLS context for the settings, None for plain HTTP.

    Raises:
        ConfigurationError: a certificate or key cannot be used.
    """
    if not settings.tls_server_cert or not settings.tls_server_key:
        return None
    return tls.server_context(settings.tls_server_cert, settings.tls_server_key, settings.tls_client_cas)


def bind(settings: Settings) -> tuple[str, str]:
    """What gunicorn is to bind, and how to speak of it.

    Raises:
        ConfigurationError: the port or the socket's path cannot be used.
    """
    if settings.unix_socket:
        return _bind_unix_socket(Path(settings.unix_socket))
    host = settings.bind_address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Bound once without SO_REUSEPORT: with it, two servers would share a taken port without a word.
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, settings.port))
        except OSError as error:
            raise ConfigurationError(
                f"port {settings.port} on {host} cannot be used ({error.strerror}): stop what uses it or set "
                "STEADYBIT_EXTENSION_PORT"
            ) from None
        port = probe.getsockname()[1]
    scheme = "https" if settings.tls_server_cert else "http"
    client = " (ClientAuth: RequireAndVerifyClientCert)" if settings.tls_client_cas else ""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}", f"{scheme} server on port {port}{client}"


def _bind_unix_socket(path: Path) -> tuple[str, str]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    except OSError as error:
        raise ConfigurationError(f"STEADYBIT_EXTENSION_UNIX_SOCKET: {path.parent}: {error.strerror}") from None
    if path.exists() and not path.is_socket():
        raise ConfigurationError(f"STEADYBIT_EXTENSION_UNIX_SOCKET: {path} is there and is not a socket")
    with socket.socket(socket.AF_UNIX) as probe:
        if probe.connect_ex(str(path)) == 0:
            raise ConfigurationError(f"STEADYBIT_EXTENSION_UNIX_SOCKET: a server listens at {path}, stop it first")
    return f"unix:{path}", f"http server on unix domain socket ({path})"


def probes(settings: Settings, is_ready: Callable[[], bool], read_backlog: ReadBacklog) -> ProbesServer | None:
    """Bind the health port; None with a unix socket.

    Raises:
        ConfigurationError: the port cannot be used.
    """
    if settings.unix_socket:
        return None  # its health endpoints are on the socket, so that many extensions fit on one host
    try:
        return ProbesServer((settings.bind_address, settings.health_port), is_ready, read_backlog)
    except OSError as error:
        raise ConfigurationError(
            f"health port {settings.health_port} cannot be used ({error.strerror}): stop what uses it or set "
            "STEADYBIT_EXTENSION_HEALTH_PORT"
        ) from None
