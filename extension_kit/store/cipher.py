"""Cipher: encrypts values of extensions' tables (AES-GCM), with secrets that the database does not hold.

An encrypted value is a byte for its form, the salt of its key, a nonce and what AES-GCM makes of the content. Each
cipher has a salt of its own, so that no key encrypts more values than random nonces are enough for. Values of earlier
releases are Fernet tokens, which are read, too.
"""

import base64
import os
from collections.abc import Sequence
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_FORM = b"\x01"
_SALT = 16  # bytes
_NONCE = 12
_HEAD = len(_FORM) + _SALT + _NONCE
_MOST_SALTED = 256  # keys that are kept; each process that encrypts has made one


class Cipher:
    """Encrypts with the first of several secrets, and decrypts with any of them.

    Args:
        secrets: at least one, of any length; all but the first are those before a rotation, for decryption only.
        purpose: what is encrypted. Another purpose gives other keys.

    Raises:
        ValueError: there is no secret.
    """

    def __init__(self, secrets: Sequence[bytes], purpose: str) -> None:
        if not secrets:
            raise ValueError("a cipher needs at least one secret")
        self._keys = [_Key(secret, purpose) for secret in secrets]
        self._head = _FORM + os.urandom(_SALT)
        self._salted = self._keys[0].salted(self._head[len(_FORM) :])

    def encrypt(self, content: bytes) -> bytes:
        """Return the encrypted form."""
        nonce = os.urandom(_NONCE)
        return b"%b%b%b" % (self._head, nonce, self._salted.encrypt(nonce, content, None))

    def decrypt(self, encrypted: bytes) -> bytes:
        """Return the content.

        Raises:
            ValueError: it was encrypted with other secrets or for another purpose, or changed since.
        """
        for key in self._keys:
            if (content := key.decrypted(encrypted)) is not None:
                return content
        raise ValueError("it was encrypted with another secret, or changed since")

    def is_current(self, encrypted: bytes) -> bool:
        """Return True if a value was encrypted with the first of the secrets."""
        return self._keys[0].decrypted(encrypted) is not None


class _Key:
    """The keys that are derived from a secret."""

    def __init__(self, secret: bytes, purpose: str) -> None:
        self._fernet = Fernet(base64.urlsafe_b64encode(_derived(secret, None, purpose)))
        self.salted = lru_cache(_MOST_SALTED)(lambda salt: AESGCM(_derived(secret, salt, purpose)))

    def decrypted(self, encrypted: bytes) -> bytes | None:
        """Return the content, or None if it was not encrypted with this secret."""
        try:
            if not encrypted.startswith(_FORM):
                return self._fernet.decrypt(encrypted)
            nonce, sealed = encrypted[_HEAD - _NONCE : _HEAD], encrypted[_HEAD:]
            return self.salted(encrypted[len(_FORM) : _HEAD - _NONCE]).decrypt(nonce, sealed, None)
        except (InvalidToken, InvalidTag, ValueError):  # ValueError: too short for a nonce
            return None


def _derived(secret: bytes, salt: bytes | None, purpose: str) -> bytes:
    return HKDF(SHA256(), length=32, salt=salt, info=purpose.encode()).derive(secret)
