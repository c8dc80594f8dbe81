"""Verified tokens: tokens found to be good, which are kept for a while and not verified for every request."""

import time
from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from threading import Lock
from typing import NamedTuple


class VerifiedToken(NamedTuple):
    """A verified token.

    Attributes:
        user: the service or user of the token.
        tenant: its tenant.
        is_service: True for the token of a service.
        expires: its ``exp``, in seconds since 1970.
    """

    user: str
    tenant: str
    is_service: bool
    expires: int


class _Kept(NamedTuple):
    token: VerifiedToken
    until: float  # by the steady clock


class VerifiedTokens:
    """Keeps verified tokens by their text, at most so many: those that were not used for the longest time are dropped.

    None is kept beyond its ``exp``, and none is kept for longer than some minutes, whatever the system's clock does.
    Only hashes of the texts are in memory. Thread-safe.

    Args:
        limit: maximum number of tokens.
        seconds: for which a token is kept at most.
        clock: returns the seconds since 1970.
        steady_clock: returns seconds that go on evenly.
    """

    def __init__(
        self,
        limit: int = 1000,
        seconds: float = 300.0,
        clock: Callable[[], float] = time.time,
        steady_clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = limit
        self._seconds = seconds
        self._clock = clock
        self._steady_clock = steady_clock
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        """Return the number of tokens."""
        return len(self._kept)

    def get(self, text: str, verify: Callable[[str], VerifiedToken]) -> VerifiedToken:
        """Return the token of a text: the kept one, or else a verified one, which is kept from then on.

        Args:
            text: the token, as it was sent.
            verify: verifies it. Its errors are raised, and nothing is kept.
        """
        key = _hash(text)
        now = self._steady_clock()
        with self._lock:
            if (kept := self._kept.get(key)) is not None:
                if now < kept.until and self._clock() < kept.token.expires:
                    self._kept.move_to_end(key)
                    return kept.token
                del self._kept[key]
        token = verify(text)
        if self._clock() < token.expires:  # it may be accepted for a moment more
            with self._lock:
                self._kept[key] = _Kept(token, now + self._seconds)
                self._kept.move_to_end(key)
                if len(self._kept) > self._limit:
                    self._kept.popitem(last=False)
        return token


def _hash(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=32).digest()
