"""Keys of senders, and tokens, as requests have them."""

from typing import NamedTuple

from .access import Access
from .answers import EventhosError


class SenderKey(NamedTuple):
    """A key of a request, or a token.

    Attributes:
        text: as it was sent.
        is_token: True for a JSON Web Token: three parts joined by dots, which keys do not have.
        client: number of the client of a valid token; None for keys.
    """

    text: str
    is_token: bool
    client: int | None


class SenderKeys:
    """Reads keys and tokens.

    Args:
        access: reads tokens.
        is_upstream: True for the codes of eventhos's server.
    """

    def __init__(self, access: Access, *, is_upstream: bool) -> None:
        self._access = access
        self._is_upstream = is_upstream

    def read(self, text: str) -> SenderKey:
        """Read a key or a token, without the database."""
        is_token = text.count(".") == 2
        return SenderKey(text, is_token, self._access.client_of(text) if is_token else None)

    def refusal(self, key: SenderKey) -> EventhosError:
        """Return the error for a wrong key: its code depends on nothing but the form of the key."""
        code = 401201 if self._is_upstream and not key.is_token else 401202
        return EventhosError(401, code, "Incorrect token")
