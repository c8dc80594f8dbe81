"""What clients get wrong before there is a request, said in the log by the name of the setting that mends it.

A client that speaks TLS to a plain port, or plain HTTP to one with TLS, or that has not the certificate which is asked
for, tries again and again: each kind of mistake is one line in a minute at most.
"""

import logging
import ssl
import threading
import time

logger = logging.getLogger("extension_kit.server")

_PAUSE = 60.0  # seconds between two lines about the same mistake
_CERT, _CAS = "STEADYBIT_EXTENSION_TLS_SERVER_CERT", "STEADYBIT_EXTENSION_TLS_CLIENT_CAS"

TLS_AT_PLAIN_PORT = (
    "A client speaks TLS to the port that agents call, which is plain HTTP: register it with http://, "
    f"or turn TLS on with {_CERT}"
)
TLS_AT_HEALTH_PORT = "A client speaks TLS to the health port, which is always plain HTTP: let it ask with http://"
_UNTRUSTED = f"A client does not trust the certificate in {_CERT}: it needs the authority that has signed it"
_HANDSHAKES = {
    "HTTP_REQUEST": (
        "A client speaks plain HTTP to the port that agents call, which has TLS: register it with https://, "
        f"or turn TLS off by leaving {_CERT} unset"
    ),
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": (
        f"A client shows no certificate, and {_CAS} demands one: give it one that is signed by an authority in there"
    ),
    "CERTIFICATE_VERIFY_FAILED": f"A client's certificate is not accepted by the authorities in {_CAS}",
    "TLSV1_ALERT_UNKNOWN_CA": _UNTRUSTED,
    "SSLV3_ALERT_BAD_CERTIFICATE": _UNTRUSTED,
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": _UNTRUSTED,
    "UNSUPPORTED_PROTOCOL": "A client speaks no TLS that is new enough: 1.2 is the oldest that is taken",
}

_said: dict[str, float] = {}
_turn = threading.Lock()


def begins_tls(data: bytes) -> bool:
    """Whether a client begins with the hello of TLS (RFC 8446, 5.1: a handshake record of version 3.x)."""
    return data[:2] == b"\x16\x03"


def say(sentence: str, detail: str = "") -> None:
    """Log what a client got wrong, unless it was logged within the last minute.

    Args:
        sentence: the mistake and what mends it; one of a fixed number.
        detail: what is different each time.
    """
    now = time.monotonic()
    with _turn:
        if now - _said.get(sentence, -_PAUSE) < _PAUSE:
            return
        _said[sentence] = now
    logger.warning("%s%s (said once a minute)", sentence, f": {detail}" if detail else "")


def say_of_handshake(error: ssl.SSLError) -> None:
    """Log what was wrong with a handshake, where it is a mistake and no accident of the network."""
    if sentence := _HANDSHAKES.get(error.reason or ""):
        say(sentence, getattr(error, "verify_message", ""))
