"""NATS credentials: the token and the key of a user, as credentials files (``.creds``) have them.

nats-py would need another package for the keys, of which there are no wheels.
"""

import base64
import re
from collections.abc import Callable
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_TOKEN = re.compile(r"-----BEGIN NATS USER JWT-----\s+(\S+)")
_SEED = re.compile(r"-----BEGIN USER NKEY SEED-----\s+([A-Z2-7]+)")
_SEED_BYTES = 36  # two of a prefix, the key, and two of a checksum


class NatsCredentials(NamedTuple):
    """Credentials of a user: the token that is sent, and the function that signs a server's challenge, in base64."""

    token: bytes
    sign: Callable[[str], bytes]

    @classmethod
    def parse(cls, text: str) -> "NatsCredentials":
        """Read the text of a credentials file.

        Raises:
            ValueError: it is none. The message has nothing of the text.
        """
        token, seed = _TOKEN.search(text), _SEED.search(text)
        if token is None or seed is None:
            raise ValueError("the credentials are not the text of a credentials file")
        raw = base64.b32decode(seed[1] + "=" * (-len(seed[1]) % 8))
        if len(raw) != _SEED_BYTES:
            raise ValueError("the seed of the credentials is incomplete")
        key = Ed25519PrivateKey.from_private_bytes(raw[2:-2])
        return cls(token[1].encode(), lambda challenge: base64.b64encode(key.sign(challenge.encode())))
