"""Client mistakes: log lines for failed TLS handshakes and wrong protocols, naming the setting to change.

A client that speaks TLS to a plain port, speaks plain HTTP to a TLS port or lacks the required certificate retries
again and again. Each kind of mistake is therefore logged at most once a minute.
"""

import logging
import ssl
import threading
import time

logger = logging.getLogger("extension_kit.server")

_PAUSE = 60.0
_CERT, _CAS = "STEADYBIT_EXTENSION_TLS_SERVER_CERT", "STEADYBIT_EXTENSION_TLS_CLIENT_CAS"

TLS_AT_PLAIN_PORT = (
    "A client speaks TLS to the extension port, which is plain HTTP: register the extension with http://, "
    f"or turn TLS on with {_CERT}"
)
TLS_AT_HEALTH_PORT = "A client speaks TLS to the health port, which is always plain HTTP: use http://"
_UNTRUSTED = f"A client does not trust the certificate in {_CERT}: add the signing CA to the client"
_HANDSHAKES = {
    "HTTP_REQUEST": (
        "A client speaks plain HTTP to the extension port, which has TLS: register the extension with https://, "
        f"or turn TLS off by leaving {_CERT} unset"
    ),
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": (
        f"A client shows no certificate, and {_CAS} requires one: give it a certificate signed by one of these CAs"
    ),
    "CERTIFICATE_VERIFY_FAILED": f"A client's certificate is not signed by a CA in {_CAS}",
    "TLSV1_ALERT_UNKNOWN_CA": _UNTRUSTED,
    "SSLV3_ALERT_BAD_CERTIFICATE": _UNTRUSTED,
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": _UNTRUSTED,
    "UNSUPPORTED_PROTOCOL": "A client offers only TLS versions older than 1.2: 1.2 or newer is required",
}

_logged: dict[str, float] = {}
_lock = threading.Lock()


def begins_tls(data: bytes) -> bool:
    """Return True if the data begins with a TLS hello (RFC 8446, 5.1: a handshake record of version 3.x)."""
    return data[:2] == b"\x16\x03"


def warn(sentence: str, detail: str = "", pause: float = _PAUSE) -> None:
    """Log a client's mistake, unless the same sentence was logged within ``pause``.

    Args:
        sentence: the mistake and its remedy; one of a fixed number.
        detail: the variable part of the line.
        pause: seconds between two lines about the same mistake.
    """
    now = time.monotonic()
    with _lock:
        if now - _logged.get(sentence, -pause) < pause:
            return
        _logged[sentence] = now
    logger.warning("%s%s (logged at most once a minute)", sentence, f": {detail}" if detail else "")


def warn_of_handshake(error: ssl.SSLError) -> None:
    """Log the reason of a failed handshake if it is a known client mistake; network errors are not logged."""
    if sentence := _HANDSHAKES.get(error.reason or ""):
        warn(sentence, getattr(error, "verify_message", ""))
