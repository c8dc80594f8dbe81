"""TLS hints: explains TLS failures between an agent and an extension, with a remedy for each."""

import http.client
import socket
import ssl

from extension_kit.agent.address import Address

_TIMEOUT = 5.0  # seconds to find out if a port speaks TLS

# Of X509_V_ERR_... (OpenSSL, x509_vfy.h): the authority that signed the certificate, or one above it, is unknown.
_UNKNOWN_AUTHORITY = {2, 18, 19, 20, 21}
# OpenSSL's names of answers that are not TLS, and of a server's alerts about a client's certificate.
_NOT_TLS = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG"}
_CERTIFICATE_REQUIRED = {"TLSV13_ALERT_CERTIFICATE_REQUIRED", "SSLV3_ALERT_HANDSHAKE_FAILURE"}
_CERTIFICATE_REFUSED = {
    "TLSV1_ALERT_UNKNOWN_CA",
    "SSLV3_ALERT_BAD_CERTIFICATE",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
    "TLSV1_ALERT_ACCESS_DENIED",
}
_CLOSED_BY_PEER = (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)


def explain(error: BaseException, address: Address) -> str:
    """Return an explanation of a failed request, if TLS or its absence may be the reason; else an empty text.

    Args:
        error: the innermost error.
        address: the address that was called.
    """
    if address.scheme == "http" and isinstance(error, (*_CLOSED_BY_PEER, http.client.BadStatusLine)):
        return _plain_hint(address)
    return _tls_hint(error, address) if address.scheme == "https" else ""


def _plain_hint(address: Address) -> str:
    if not _speaks_tls(address):
        return ""
    return f"it speaks TLS at this port: call https://{_location(address)}"


def _tls_hint(error: BaseException, address: Address) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _UNKNOWN_AUTHORITY:
            return (
                f"its certificate is of an authority that is not trusted here ({error.verify_message}): give --ca FILE"
            )
        return f"its certificate is not accepted: {error.verify_message}"
    reason = getattr(error, "reason", "")
    if reason in _NOT_TLS:
        return f"it speaks no TLS at this port: call http://{_location(address)}, or turn its TLS on"
    if reason in _CERTIFICATE_REQUIRED:
        return "it demands a certificate of the agent: give --client-cert FILE"
    if reason in _CERTIFICATE_REFUSED:
        return f"it does not accept the agent's certificate ({_readable(reason)}): see --client-cert, and its log"
    if isinstance(error, _CLOSED_BY_PEER):
        return (
            "it ends the connection before it answers: it may demand a certificate of the agent (--client-cert FILE), "
            "or not accept the one it was shown; its log says so"
        )
    return ""


def _speaks_tls(address: Address) -> bool:
    """Return True if a server answers a TLS hello in TLS, even with a refusal."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # safe because no data is sent
    try:
        with (
            socket.create_connection((address.host, address.port), timeout=_TIMEOUT) as connection,
            context.wrap_socket(connection, server_hostname=address.host),
        ):
            return True
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")
    except OSError:
        return False


def _location(address: Address) -> str:
    return address.url.partition("://")[2]


def _readable(reason: str) -> str:
    return reason.partition("ALERT_")[2].replace("_", " ").lower()
