"""Webhook signatures: the headers of the Standard Webhooks specification, by which receivers verify the sender."""

from base64 import b64decode
from datetime import UTC, datetime

from marshmallow import ValidationError
from standardwebhooks import Webhook

_PREFIX = "whsec_"
_KEY_BYTES = range(24, 65)  # of the specification


def check_secrets(secrets: str) -> None:
    """Check a text of one secret, or of several separated by blanks.

    Raises:
        ValidationError: one of them is not a secret. The message describes the form of secrets.
    """
    keys = secrets.split()
    if not keys or any(_size(key) not in _KEY_BYTES for key in keys):
        raise ValidationError(f'A secret is "{_PREFIX}" and 24 to 64 bytes in base64; blanks separate several.')


def _size(secret: str) -> int:
    prefix, key = secret[: len(_PREFIX)], secret[len(_PREFIX) :]
    try:
        return len(b64decode(key + "=" * (-len(key) % 4), validate=True)) if prefix == _PREFIX else 0
    except ValueError:
        return 0


def signature_headers(secrets: str, message_id: str, body: bytes, now: datetime) -> dict[str, str]:
    """Return the headers ``webhook-timestamp`` and ``webhook-signature``.

    Args:
        secrets: one secret, or several separated by blanks while a receiver changes its secret: it accepts a message
            with one valid signature.
        message_id: the value of ``webhook-id``.
        body: the body of the request, in UTF-8.
        now: the time of the signature, with a time zone.

    Raises:
        ValueError: the body is not UTF-8 and cannot be signed.
    """
    now = now.astimezone(UTC)  # the library ignores the time zone
    text = body.decode()
    signatures = [Webhook(secret).sign(message_id, now, text) for secret in secrets.split()]
    return {"webhook-timestamp": str(int(now.timestamp())), "webhook-signature": " ".join(signatures)}
