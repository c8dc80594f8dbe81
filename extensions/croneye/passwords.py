"""Password checks: slow and large on purpose, so a process makes one at a time, and few requests may wait."""

import threading
from collections.abc import Callable

from werkzeug.security import check_password_hash, generate_password_hash

from .tries import Key, Tries

_METHOD = "scrypt:32768:8:1"
"""The hash takes 32 MB and about 0.1 s; ``PasswordGate`` bounds the sum."""

_MOST_WAITING = 3
_LONGEST_WAIT = 5.0  # seconds


class Busy(Exception):
    """Too many requests are checking passwords: try again in a second."""


class PasswordGate:
    """Lets one thread at a time check a password, so that threads remain for events.

    Args:
        threads: number of threads that answer requests; at most a quarter of them may wait here.
        tries: counts wrong passwords.
    """

    def __init__(self, threads: int, tries: Tries) -> None:
        self._places = threading.BoundedSemaphore(1 + min(_MOST_WAITING, threads // 4))
        self._turn = threading.Lock()
        self._tries = tries

    def check(self, keys: tuple[Key, ...], is_right: Callable[[], bool]) -> bool:
        """Check a password, and count a wrong try.

        Args:
            keys: the keys that the try counts for.
            is_right: returns True if the password is right; slow.

        Raises:
            TooManyTries: there were too many wrong tries.
            Busy: too many requests are checking passwords.
        """
        self._tries.need_turn(keys)
        if not self._places.acquire(blocking=False):
            raise Busy
        try:
            if not self._turn.acquire(timeout=_LONGEST_WAIT):
                raise Busy
            try:
                self._tries.need_turn(keys)  # again: tries that waited here meanwhile count, too
                right = is_right()
                (self._tries.succeeded if right else self._tries.failed)(keys)
                return right
            finally:
                self._turn.release()
        finally:
            self._places.release()


def hashed(password: str) -> str:
    """Return the salted hash of a password."""
    return generate_password_hash(password, _METHOD)


def is_of(password: str, hash: str) -> bool:
    """Return True if the hash is of this password."""
    return check_password_hash(hash, password)
