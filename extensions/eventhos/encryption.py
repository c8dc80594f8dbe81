"""Encryption of secrets and of the event log in the database, with keys that the database does not hold."""

from typing import Any

import orjson

from extension_kit.protocol import Cipher, Kit, local_secret

from .settings import EventhosSettings

VARIABLE = "EXTENSION_EVENTHOS_CRYPTO_KEY"


class OtherKey(ValueError):
    """Error for a value of the database that was encrypted with none of the keys."""

    def __init__(self) -> None:
        super().__init__(f"it was encrypted with another {VARIABLE}: add that one to the setting")


class Encryption:
    """Encrypts and decrypts JSON values.

    Args:
        cipher: encrypts bytes.
    """

    def __init__(self, cipher: Cipher) -> None:
        self._cipher = cipher

    @classmethod
    def of(cls, kit: Kit, settings: EventhosSettings) -> "Encryption":
        """Return the encryption of the settings; on SQLite, a generated secret is kept in a file beside the database.

        Raises:
            SettingError: there is no secret, or its file cannot be used.
        """
        secrets = [secret.encode() for secret in settings.crypto_key]
        return cls(Cipher(secrets or [local_secret(kit.database, "eventhos", variable=VARIABLE)], "eventhos"))

    def encrypt(self, value: Any) -> bytes:
        """Return the encrypted form of a JSON value."""
        return self._cipher.encrypt(orjson.dumps(value))

    def decrypt(self, encrypted: bytes) -> Any:
        """Return the value.

        Raises:
            OtherKey: it was encrypted with other secrets.
        """
        try:
            return orjson.loads(self._cipher.decrypt(encrypted))
        except ValueError:
            raise OtherKey from None

    def renewed(self, encrypted: bytes) -> bytes | None:
        """Return a value encrypted with the first of the secrets; None if it is so already.

        Raises:
            OtherKey: it was encrypted with other secrets.
        """
        return None if self._cipher.is_current(encrypted) else self.encrypt(self.decrypt(encrypted))
