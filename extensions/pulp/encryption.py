"""Encryption of notifiers' passwords in the database, with a secret that the database does not hold."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

from extension_kit.protocol import Cipher, Kit, local_secret

from .settings import PulpSettings

_PURPOSE = "pulp passwords of notifiers"
_FERNET = b"gAAAA"  # beginning of what earlier releases wrote, which is base64 already


class Passwords:
    """Encrypts and decrypts passwords. A password may be any JSON value, because nothing checks configurations.

    Args:
        kit: the kit; on SQLite, a generated secret is kept in a file beside its database.
        settings: the secret.

    Raises:
        SettingError: there is no secret, or its file cannot be used.
    """

    def __init__(self, kit: Kit, settings: PulpSettings) -> None:
        secret = settings.secret.encode() or local_secret(kit.database, "pulp", variable="EXTENSION_PULP_SECRET")
        self._cipher = Cipher([secret], _PURPOSE)

    def encrypt(self, password: Any) -> bytes:
        """Return the encrypted form of a password, in ASCII: it is part of the JSON of targets."""
        return urlsafe_b64encode(self._cipher.encrypt(json.dumps(password).encode()))

    def decrypt(self, encrypted: bytes) -> Any:
        """Return the password.

        Raises:
            ValueError: it was encrypted with another secret.
        """
        try:
            sealed = encrypted if encrypted.startswith(_FERNET) else urlsafe_b64decode(encrypted)
            return json.loads(self._cipher.decrypt(sealed))
        except ValueError:
            raise ValueError("the password was encrypted with another EXTENSION_PULP_SECRET") from None
