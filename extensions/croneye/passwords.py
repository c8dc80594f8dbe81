"""Checks passwords, which takes long and much memory on purpose: one at a time in each process, and few may wait."""

import threading
from collections.abc import Callable

from werkzeug.security import check_password_hash, generate_password_hash

from .tries import Key, Tries

_METHOD = "scrypt:32768:8:1"
"""32 MB and some 0.1 s for each, which ``PasswordGate`` bounds for all."""

_MOST_WAITING = 3
_LONGEST_WAIT = 5.0  # seconds


class Busy(Exception):
    """Others are checking passwords: try again in a second."""


class PasswordGate:
    """Lets one thread after the other work on passwords, so that those that take events are not used up by it.

    Args:
        threads: that requests are answered with: at most a quarter of them waits.
        tries: the wrong ones.
    """

    def __init__(self, threads: int, tries: Tries) -> None:
        self._places = threading.BoundedSemaphore(1 + min(_MOST_WAITING, threads // 4))
        self._turn = threading.Lock()
        self._tries = tries

    def check(self, keys: tuple[Key, ...], is_right: Callable[[], bool]) -> bool:
        """Check a password, and count a wrong try.

        Args:
            keys: what the try counts for.
            is_right: whether it is right, which takes its time.

        Raises:
            TooManyTries: there were too many wrong ones.
            Busy: too many others are at it.
        """
        self._tries.need_turn(keys)
        if not self._places.acquire(blocking=False):
            raise Busy
        try:
            if not self._turn.acquire(timeout=_LONGEST_WAIT):
                raise Busy
            try:
                self._tries.need_turn(keys)  # of those that came at the same time, too
                right = is_right()
                (self._tries.succeeded if right else self._tries.failed)(keys)
                return right
            finally:
                self._turn.release()
        finally:
            self._places.release()


def hashed(password: str) -> str:
    """Hash a password, salted."""
    return generate_password_hash(password, _METHOD)


def is_of(password: str, hash: str) -> bool:
    """Whether a hash is of a password."""
    return check_password_hash(hash, password)
