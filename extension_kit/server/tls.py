"""TLS context of the server, which follows its files: renewed certificates, keys and CAs need no restart.

Client certificates are required, and client CAs may be files or directories, as in Steadybit's extension-kit.
"""

import logging
import os
import ssl
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Self

from extension_kit.errors import ConfigurationError
from extension_kit.server import client_mistakes as mistakes

logger = logging.getLogger("extension_kit.tls")

_CERT = "STEADYBIT_EXTENSION_TLS_SERVER_CERT"
_KEY = "STEADYBIT_EXTENSION_TLS_SERVER_KEY"
_CLIENT_CAS = "STEADYBIT_EXTENSION_TLS_CLIENT_CAS"

# OpenSSL reasons for which the client is sent an alert.
_ALERTED = {"PEER_DID_NOT_RETURN_A_CERTIFICATE", "CERTIFICATE_VERIFY_FAILED"}


def server_context(cert: str, key: str, client_cas: Sequence[str] = ()) -> ssl.SSLContext:
    """Return a context for servers: TLS 1.2 or newer, client certificates required if there are client CAs.

    Each new connection uses the current files; if they have become unusable, their last usable version.

    Args:
        cert: PEM file with the certificate chain.
        key: PEM file with its private key.
        client_cas: PEM files, or directories that are searched for them.

    Raises:
        ConfigurationError: the certificate or its key cannot be used, or none of the client CAs can.
    """
    return _FollowingContext(cert, key, client_cas)


class _WatchedObject(ssl.SSLObject):
    """TLS of one connection. Logs a client mistake in the handshake and tells the client by an alert."""

    _refusal: ssl.SSLError | None = None

    def do_handshake(self) -> None:
        if self._refusal is not None:
            raise self._refusal
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            mistakes.warn_of_handshake(error)
            if error.reason not in _ALERTED:
                raise
            # An event loop closes a failed connection at once. While it believes that more has to be read, it sends the
            # alert that OpenSSL has written. The client closes then, or the loop does after its handshake timeout.
            self._refusal = error
            raise ssl.SSLWantReadError from None


class _FollowingContext(ssl.SSLContext):
    """A context that delegates new connections to a newer one once the files have changed.

    A connection of asyncio or uvloop begins with ``wrap_bio``, one of a blocking server with ``wrap_socket``. The
    contexts are exchanged there and not in an SNI callback: that comes too late to forbid the resumption of a session
    from before the change, so a client with a removed CA would get in.
    """

    def __new__(cls, *_: Any) -> Self:
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    def __init__(self, cert: str, key: str, client_cas: Sequence[str]) -> None:
        self._files = (cert, key, client_cas)
        self._seen = _fingerprint(*self._files)
        self._newest: ssl.SSLContext = self
        _load(self, *self._files)

    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:
        return ssl.SSLContext.wrap_bio(self._current(), *arguments, **options)

    def wrap_socket(self, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        return ssl.SSLContext.wrap_socket(self._current(), *arguments, **options)

    def _current(self) -> ssl.SSLContext:
        seen = _fingerprint(*self._files)  # before they are loaded: a change in between is seen the next time
        if seen != self._seen:
            self._seen = seen
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            try:
                _load(context, *self._files)
            except ConfigurationError as error:
                logger.warning("Changed TLS files cannot be used, keeping the old ones: %s", error)
            else:
                self._newest = context
                logger.info("Changed TLS files loaded")
        return self._newest


def _load(context: ssl.SSLContext, cert: str, key: str, client_cas: Sequence[str]) -> None:
    def passphrase() -> str:  # without it, OpenSSL would ask for one on the terminal
        raise ConfigurationError(f'{_KEY}: "{key}" has a passphrase: a key without one is needed')

    _check_pem(_CERT, cert, b"CERTIFICATE-----")
    _check_pem(_KEY, key, b"PRIVATE KEY-----")
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslobject_class = _WatchedObject
    try:
        context.load_cert_chain(cert, key, passphrase)
    except OSError as error:
        raise ConfigurationError(f'{_CERT} "{cert}" and {_KEY} "{key}" cannot be used: {_reason(error)}') from error
    if client_cas:
        _load_client_cas(context, client_cas)


def _check_pem(variable: str, path: str, marker: bytes) -> None:
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise ConfigurationError(f'{variable}: "{path}" cannot be read: {error.strerror}') from error
    if marker not in content:
        raise ConfigurationError(f'{variable}: "{path}" is not a PEM file with "{marker.decode()}"')


def _load_client_cas(context: ssl.SSLContext, client_cas: Sequence[str]) -> None:
    def leave_out(path: str, error: OSError) -> None:
        logger.warning('%s: "%s" is left out: %s', _CLIENT_CAS, path, _reason(error))

    for path in _ca_files(client_cas, lambda error: leave_out(error.filename, error)):
        try:
            context.load_verify_locations(path)
        except OSError as error:
            leave_out(path, error)
    if not context.cert_store_stats()["x509"]:
        raise ConfigurationError(f'{_CLIENT_CAS}: no certificate in "{", ".join(client_cas)}" can be used')
    context.verify_mode = ssl.CERT_REQUIRED
    # An intermediate CA is trusted without its root, as in extensions written in Go.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN


def _ca_files(client_cas: Iterable[str], on_error: Callable[[OSError], None] | None = None) -> Iterator[str]:
    """Yield the files and the files in the directories, except Kubernetes' own folders such as ..data."""
    for entry in client_cas:
        if not os.path.isdir(entry):
            yield entry
            continue
        for folder, folders, names in os.walk(entry, onerror=on_error):
            folders[:] = sorted(name for name in folders if not name.startswith(".."))
            paths = (os.path.join(folder, name) for name in sorted(names))
            yield from (path for path in paths if os.path.isfile(path))


def _fingerprint(cert: str, key: str, client_cas: Sequence[str]) -> list[tuple[str, int, int, int]]:
    """Return path, mtime, size and inode of each file: they change when it is rewritten, replaced or relinked."""
    fingerprint = []
    for path in (cert, key, *_ca_files(client_cas)):
        try:
            status = os.stat(path)
            fingerprint.append((path, status.st_mtime_ns, status.st_size, status.st_ino))
        except OSError:
            fingerprint.append((path, 0, 0, 0))
    return fingerprint


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason.replace("_", " ").lower() if error.reason else "it is not valid PEM"
    return error.strerror or str(error)
