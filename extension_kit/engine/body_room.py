"""Room for the bodies of claimed deliveries, because an event may be twenty times its size once it is decoded."""

from collections.abc import Callable, Mapping

SMALL = 16 * 1024
"""Size in bytes up to which a body is not counted. So large bodies never keep ordinary deliveries waiting."""

_ROOM = 8 * 1024**2  # bytes of large bodies, and one more of any size
_ROOM_OF_SLOW = 4 * 1024**2  # of those, for listeners that are not quick


class BodyRoom:
    """The large bodies that a worker holds.

    Args:
        held: their bytes, by listener.
        is_quick: returns True if the attempts of a listener are quick.
    """

    def __init__(self, held: Mapping[str, int], is_quick: Callable[[str], bool]) -> None:
        self._is_quick = is_quick
        self._all = self._slow = 0
        for listener, size in held.items():
            self._add(listener, size)

    def take(self, listener: str, size: int) -> bool:
        """Take room for the body of a delivery, in bytes. Return False if there is none."""
        if size <= SMALL:
            return True
        if self._all >= _ROOM or (self._slow >= _ROOM_OF_SLOW and not self._is_quick(listener)):
            return False
        self._add(listener, size)
        return True

    def _add(self, listener: str, size: int) -> None:
        self._all += size
        if not self._is_quick(listener):
            self._slow += size
