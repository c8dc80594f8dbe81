"""The attempts that a process makes at the moment."""

import threading


class UnderWay:
    """Knows them by the numbers of their deliveries; for all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers: dict[int, int] = {}
        self._suspect: int | None = None

    def begin(self, ref: int, number: int) -> None:
        """Take note that the attempt of this number has begun."""
        with self._lock:
            self._numbers[ref] = number

    def end(self, ref: int, number: int) -> bool:
        """Take note that it has ended; False where it has been given away by then."""
        with self._lock:
            return self._numbers.get(ref) == number and self._numbers.pop(ref) == number

    def give_away(self, ref: int) -> int | None:
        """Return the number of the attempt that is under way, which no longer is this process's; None without one."""
        with self._lock:
            return self._numbers.pop(ref, None)

    def take_turn(self, ref: int) -> bool:
        """Say whether a suspect may be attempted: only while no other one is."""
        with self._lock:
            if self._suspect is None:
                self._suspect = ref
            return self._suspect == ref

    def end_turn(self, ref: int) -> None:
        """Let the next suspect have its turn, if it was the turn of this one."""
        with self._lock:
            if self._suspect == ref:
                self._suspect = None
