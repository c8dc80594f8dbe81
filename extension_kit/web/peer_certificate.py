"""Peer certificate: the subject of a client's verified TLS certificate, in the request environment.

The variables are those of Apache's mod_ssl, so that views find the same behind Apache with ``SSLOptions +StdEnvVars``:
``SSL_CLIENT_VERIFY`` is ``SUCCESS`` or ``NONE``, ``SSL_CLIENT_S_DN`` the subject, ``SSL_CLIENT_S_DN_CN`` its first
common name. Clients cannot set them: variables made of their headers begin with ``HTTP_``.
"""

import re
from collections.abc import Mapping, MutableMapping
from typing import Any, NamedTuple

PEER_CERTIFICATE = "extension_kit.peer_certificate"
"""Key in the state of an ASGI scope of the client's certificate, in the form of ``SSLSocket.getpeercert``."""

_VERIFY, _SUBJECT, _COMMON_NAME = "SSL_CLIENT_VERIFY", "SSL_CLIENT_S_DN", "SSL_CLIENT_S_DN_CN"
_SOCKETS = ("gunicorn.socket", "werkzeug.socket")

_SHORT_NAMES = {
    "commonName": "CN",
    "countryName": "C",
    "domainComponent": "DC",
    "givenName": "GN",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "stateOrProvinceName": "ST",
    "streetAddress": "street",
    "surname": "SN",
    "userId": "UID",
}
"""OpenSSL's short names of those that Python calls by their long ones; for others, both are the same."""

_SPECIAL = re.compile(r'[,+"\\<>;]|^[ #]| $')
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class PeerCertificate(NamedTuple):
    """A client's certificate, verified by the server."""

    subject: str
    """The distinguished name as RFC 4514 writes it, such as ``CN=agent,O=Example``; empty if there is none."""
    common_name: str | None
    """The common name; the first, as the certificate has them, of several; None if there is none."""


def peer_certificate(environ: Mapping[str, Any]) -> PeerCertificate | None:
    """Return the client's certificate; None without TLS, without a certificate, or if it is not verified.

    Args:
        environ: the WSGI environment of a request under a path of an event protocol, ``request.environ`` in Flask.
    """
    if environ.get(_VERIFY) != "SUCCESS":
        return None
    name = environ.get(_COMMON_NAME)
    return PeerCertificate(_decoded(environ.get(_SUBJECT, "")), None if name is None else _decoded(name))


def add_peer_certificate(environ: MutableMapping[str, Any]) -> None:
    """Add the variables to the environment of a request, unless the server has done so."""
    if _VERIFY in environ:
        return
    certificate = _certificate(environ)
    environ[_VERIFY] = "SUCCESS" if certificate else "NONE"
    if certificate:
        subject = certificate.get("subject", ())
        environ[_SUBJECT] = _encoded(_distinguished_name(subject))
        for name in (value for group in subject for key, value in group if key == "commonName"):
            environ.setdefault(_COMMON_NAME, _encoded(name))


def _certificate(environ: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the certificate of a request; empty if it was not verified, as ``getpeercert`` has it."""
    certificate: Mapping[str, Any] | None = None
    if (scope := environ.get("asgi.scope")) is not None:
        certificate = scope.get("state", {}).get(PEER_CERTIFICATE)
    for name in _SOCKETS:
        if (read := getattr(environ.get(name), "getpeercert", None)) is not None:  # a socket with TLS
            certificate = read()
    return certificate


def _distinguished_name(subject: tuple[tuple[tuple[str, str], ...], ...]) -> str:
    """Write a subject as RFC 4514 does: the last part first, with special characters behind backslashes."""
    return ",".join(
        "+".join(f"{_SHORT_NAMES.get(key, key)}={_escaped(value)}" for key, value in reversed(group))
        for group in reversed(subject)
    )


def _escaped(value: str) -> str:
    return _CONTROL.sub(lambda found: f"\\{ord(found[0]):02X}", _SPECIAL.sub(r"\\\g<0>", value))


def _encoded(text: str) -> str:
    """Return text as WSGI has it: the bytes of UTF-8, each as a character (PEP 3333)."""
    return text.encode().decode("latin-1")


def _decoded(text: str) -> str:
    return text.encode("latin-1").decode("utf-8", "replace")
