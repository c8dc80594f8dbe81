"""Password checks: slow and large on purpose, so a process makes one at a time, and few requests may wait."""

import threading
from collections.abc import Callable

from werkzeug.security import check_password_hash, generate_password_hash

from extension_kit.web.password_tries import Key, Tries

_METHOD = "scrypt:32768:8:1"
"""The hash takes 32 MB and about 0.1 s; ``PasswordGate`` bounds the sum."""

_MOST_WAITING = 3
_LONGEST_WAIT = 5.0  # seconds


class PasswordsBusy(Exception):
    """Too many requests are checking passwords: try again in a second."""


class PasswordGate:
    """Lets one thread at a time check a password, so that threads remain for events.

    Args:
        threads: number of threads that answer requests; at most a quarter of them may wait here.
        tries: counts wrong passwords.
    """

    def __init__(self, threads: int, tries: Tries) -> None:
        self._slots = threading.BoundedSemaphore(1 + min(_MOST_WAITING, threads // 4))
        self._lock = threading.Lock()
        self._tries = tries

    def check(self, keys: tuple[Key, ...], is_right: Callable[[], bool]) -> bool:
        """Check a password, and count a wrong try.

        Args:
            keys: the keys that the try counts for.
            is_right: returns True if the password is right; slow.

        Raises:
            TooManyTries: there were too many wrong tries.
            PasswordsBusy: too many requests are checking passwords.
        """
        self._tries.check_delay(keys)
        if not self._slots.acquire(blocking=False):
            raise PasswordsBusy
        try:
            if not self._lock.acquire(timeout=_LONGEST_WAIT):
                raise PasswordsBusy
            try:
                self._tries.check_delay(keys)  # again: tries that waited here meanwhile count, too
                right = is_right()
                (self._tries.succeeded if right else self._tries.failed)(keys)
                return right
            finally:
                self._lock.release()
        finally:
            self._slots.release()


def hash_password(password: str) -> str:
    """Return the salted hash of a password."""
    return generate_password_hash(password, _METHOD)


def verify_password(password: str, hash: str) -> bool:
    """Return True if the hash is of this password."""
    return check_password_hash(hash, password)
