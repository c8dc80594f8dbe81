"""Attempts in progress: the attempts that this process is making."""

import threading


class UnderWay:
    """Thread-safe record of this process's attempts: delivery ref -> attempt number."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers: dict[int, int] = {}
        self._suspect: int | None = None

    def begin(self, ref: int, number: int) -> None:
        """Record that an attempt has begun."""
        with self._lock:
            self._numbers[ref] = number

    def end(self, ref: int, number: int) -> bool:
        """Record that an attempt has ended. Return False if it was given away before."""
        with self._lock:
            return self._numbers.get(ref) == number and self._numbers.pop(ref) == number

    def give_away(self, ref: int) -> int | None:
        """Remove the attempt in progress of a delivery from the record and return its number; None without one."""
        with self._lock:
            return self._numbers.pop(ref, None)

    def take_turn(self, ref: int) -> bool:
        """Return True if a suspect may be attempted: one at a time."""
        with self._lock:
            if self._suspect is None:
                self._suspect = ref
            return self._suspect == ref

    def end_turn(self, ref: int) -> None:
        """Let another suspect be attempted, if it was the turn of this one."""
        with self._lock:
            if self._suspect == ref:
                self._suspect = None
