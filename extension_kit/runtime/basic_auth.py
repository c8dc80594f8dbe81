"""Basic authentication: compares a user name and password in constant time, for both edges."""

import base64
import binascii
import hmac


class BasicCredentials:
    """One user name and password.

    Args:
        username: may hold any character but a colon.
        password: may hold any character.
    """

    def __init__(self, username: str, password: str) -> None:
        self._expected = f"{username}:{password}".encode()

    def admit(self, authorization: str) -> bool:
        """Return True if an Authorization header carries these credentials; compared in constant time."""
        scheme, _, encoded = authorization.partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            given = base64.b64decode(encoded.strip(), validate=True)
        except (binascii.Error, ValueError):
            return False
        return hmac.compare_digest(given, self._expected)
