"""Known heads: heads of requests with events that were parsed before, and need no parsing again.

The heads that a client sends differ in the length of the body only. Whatever else differs is parsed.
"""

from collections.abc import Mapping
from typing import NamedTuple

from extension_kit.events.registry import Route
from extension_kit.events.request_headers import parse_timeout

_LONGEST = 4096  # bytes of a head to remember
_LENGTH = b"ength: "  # of Content-Length, in upper or lower case
_DIGITS = 5


class KnownHead(NamedTuple):
    """A parsed head.

    Attributes:
        route: the listeners of its path.
        content_type: the header, or "".
        timeout: seconds that the sender waits; None if it does not say so.
        accept_encoding: the header, or "".
        request_id: the header, or "".
    """

    route: Route
    content_type: str
    timeout: float | None
    accept_encoding: str
    request_id: str

    @classmethod
    def of(cls, route: Route, headers: Mapping[bytes, bytes]) -> "KnownHead":
        """Make the known head of a route and headers by name in lower case."""

        def header(name: bytes) -> str:
            return headers.get(name, b"").decode("latin-1")

        timeout = header(b"request-timeout") or header(b"x-request-timeout")
        return cls(
            route,
            header(b"content-type"),
            parse_timeout(timeout) if timeout else None,
            header(b"accept-encoding"),
            header(b"request-id"),
        )


class KnownHeads:
    """A bounded number of known heads; the oldest are forgotten first.

    Args:
        limit: maximum number of heads.
    """

    def __init__(self, limit: int = 256) -> None:
        self._limit = limit
        self._heads: dict[tuple[bytes, bytes], KnownHead] = {}

    def __len__(self) -> int:
        return len(self._heads)

    def find(self, head: bytes) -> tuple[KnownHead, int] | None:
        """Find a head, without the empty line at its end. Return it with the length of the body; None if unknown."""
        before, _, rest = head.partition(_LENGTH)
        length, _, after = rest.partition(b"\r\n")
        known = self._heads.get((before, after))
        if known is None or not length.isdigit() or len(length) > _DIGITS:
            return None
        return known, int(length)

    def learn(self, head: bytes, known: KnownHead) -> None:
        """Remember a head that was parsed.

        Nothing is learned from a head that is too long, or in which the first ``...ength: `` belongs to another header
        than Content-Length.
        """
        before, _, rest = head.partition(_LENGTH)
        length, _, after = rest.partition(b"\r\n")
        if len(head) > _LONGEST or not before.lower().endswith(b"\r\ncontent-l") or not length.isdigit():
            return
        while len(self._heads) >= self._limit:
            del self._heads[next(iter(self._heads))]
        self._heads[before, after] = known
