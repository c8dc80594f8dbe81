"""Object ids as MongoDB makes them: 24 hex digits that begin with the time, so that they sort by creation."""

import os
import secrets
import threading
import time
from itertools import count

_COUNTER = 0xFFFFFF


class ObjectIds:
    """Makes object ids: 4 bytes of Unix time, 5 random bytes of the process, 3 bytes of a counter."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = 0
        self._random = b""
        self._numbers = count()

    def new(self) -> str:
        """Return an id that no other process has made; ids of a process ascend within the range of the counter."""
        with self._lock:
            if self._process != os.getpid():  # a forked process must not repeat the ids of its parent
                self._process, self._random = os.getpid(), secrets.token_bytes(5)
                self._numbers = count(secrets.randbelow(_COUNTER // 2))
            number = next(self._numbers) & _COUNTER
        return (int(time.time()).to_bytes(4) + self._random + number.to_bytes(3)).hex()
