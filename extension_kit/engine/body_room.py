"""Room for the bodies of claimed deliveries, because an event may be twenty times its size once it is decoded."""

from collections.abc import Callable, Mapping
from typing import Protocol

SMALL = 16 * 1024
"""Size in bytes up to which a body is not counted. So large bodies never keep ordinary deliveries waiting."""

_ROOM = 8 * 1024**2  # bytes of large bodies, and one more of any size
_ASYNC_ROOM = 16 * 1024**2  # bytes of bodies of async listeners, as there may be a thousand of them at the same time


class TakeRoom(Protocol):
    """Room for bodies."""

    def take(self, listener: str, size: int) -> bool:
        """Take room for the body of a delivery, in bytes. Return False if there is none."""


class BodyRoom:
    """The large bodies that a worker holds. Half of the room is for listeners that are quick.

    Args:
        held: their bytes, by listener.
        is_quick: returns True if the attempts of a listener are quick.
        small: size in bytes up to which a body is not counted.
        room: bytes of the others, and one more of any size.
    """

    def __init__(
        self, held: Mapping[str, int], is_quick: Callable[[str], bool], small: int = SMALL, room: int = _ROOM
    ) -> None:
        self._is_quick = is_quick
        self._small, self._room = small, room
        self._all = self._slow = 0
        for listener, size in held.items():
            self._add(listener, size)

    def take(self, listener: str, size: int) -> bool:
        """Take room for the body of a delivery, in bytes. Return False if there is none."""
        if size <= self._small:
            return True
        if self._all >= self._room or (self._slow >= self._room // 2 and not self._is_quick(listener)):
            return False
        self._add(listener, size)
        return True

    def _add(self, listener: str, size: int) -> None:
        self._all += size
        if not self._is_quick(listener):
            self._slow += size


class BodyRooms:
    """A room for the bodies of each kind of listeners.

    Args:
        room: for the large bodies of plain listeners.
        held: the bytes of all bodies of async listeners that the worker holds, by listener.
        is_quick: returns True if the attempts of a listener are quick.
        is_async: returns True if a listener is async.
    """

    def __init__(
        self,
        room: TakeRoom,
        held: Mapping[str, int],
        is_quick: Callable[[str], bool],
        is_async: Callable[[str], bool],
    ) -> None:
        self._room = room
        self._async_room = BodyRoom(held, is_quick, small=0, room=_ASYNC_ROOM)
        self._is_async = is_async

    def take(self, listener: str, size: int) -> bool:
        """Take room for the body of a delivery, in bytes. Return False if there is none."""
        return (self._async_room if self._is_async(listener) else self._room).take(listener, size)
