"""Signatures by which a receiver knows who sent a webhook: the headers of the Standard Webhooks specification."""

from base64 import b64decode
from datetime import UTC, datetime

from marshmallow import ValidationError
from standardwebhooks import Webhook

_PREFIX = "whsec_"
_KEY_BYTES = range(24, 65)  # as the specification asks


def check_secrets(secrets: str) -> None:
    """Refuse what is not one secret, or several separated by blanks.

    Raises:
        ValidationError: says what a secret looks like.
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
    """The headers ``webhook-timestamp`` and ``webhook-signature``.

    Args:
        secrets: one, or several separated by blanks while a receiver changes from one to the next: it accepts the
            message if one of the signatures is right.
        message_id: what goes into ``webhook-id``.
        body: what is sent, in UTF-8.
        now: aware; what it is in UTC is what is signed.

    Raises:
        ValueError: the body is not UTF-8, so that it cannot be signed.
    """
    now = now.astimezone(UTC)  # the library takes the clock's face for UTC
    text = body.decode()
    signatures = [Webhook(secret).sign(message_id, now, text) for secret in secrets.split()]
    return {"webhook-timestamp": str(int(now.timestamp())), "webhook-signature": " ".join(signatures)}
