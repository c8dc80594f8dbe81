"""The secret that signs login tokens. It is never stored in the database."""

import hmac

from extension_kit.protocol import Kit, local_secret

from .settings import CronEyeSettings

_PURPOSE = b"croneye tokens of logins"


def load_secret(kit: Kit, settings: CronEyeSettings) -> bytes:
    """Return the secret of the settings, or a generated one beside the SQLite database.

    Raises:
        SettingError: there is no secret, or its file cannot be used.
    """
    if settings.secret:
        return settings.secret.encode()
    return local_secret(kit.database, "croneye", variable="EXTENSION_CRONEYE_SECRET")


def signing_key(secret: bytes, salt: str) -> bytes:
    """Derive a key of 32 bytes from the secret and a salt (HKDF with SHA-256, RFC 5869)."""
    extracted = hmac.digest(salt.encode(), secret, "sha256")
    return hmac.digest(extracted, _PURPOSE + b"\x01", "sha256")
