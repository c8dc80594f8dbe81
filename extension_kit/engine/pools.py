"""Pools: the shares of a worker's threads, and those of the attempts of async functions on its event loop."""

from collections.abc import Collection

from extension_kit.engine.shares import Run, Shares


class Pools:
    """The shares of plain listeners, and those of async ones. Neither takes room of the other.

    Args:
        plain: divide the threads among plain listeners.
        of_async: divide the attempts at the same time among async listeners; None: there are none.
        async_listeners: the async listeners.
    """

    def __init__(self, plain: Shares, of_async: Shares | None = None, async_listeners: Collection[str] = ()) -> None:
        self.plain = plain
        self.of_async = of_async
        self._async_listeners = frozenset(async_listeners)

    def is_async(self, listener: str) -> bool:
        """Return True if a listener is async."""
        return self.of_async is not None and listener in self._async_listeners

    def of(self, listener: str) -> Shares:
        """Return the shares of the kind of a listener."""
        return self.of_async if self.of_async is not None and listener in self._async_listeners else self.plain

    def begin(self, run: Run) -> None:
        """Record that a listener uses a thread, or makes an attempt on the event loop."""
        self.of(run.listener).begin(run)

    def end(self, run: Run) -> None:
        """Record that a listener does so no more."""
        self.of(run.listener).end(run)

    def learn(self, listener: str, seconds: float, *, for_good: bool) -> None:
        """Record the seconds of an attempt; ``for_good`` is True if it ended its delivery."""
        self.of(listener).learn(listener, seconds, for_good=for_good)

    def is_quick(self, listener: str) -> bool:
        """Return True if the last attempts of a listener were quick."""
        return self.of(listener).is_quick(listener)

    @property
    def becomes_slow(self) -> float | None:
        """Seconds until the next running attempt becomes slow; None without one."""
        plain = self.plain.look().becomes_slow
        if self.of_async is None or (of_async := self.of_async.look().becomes_slow) is None:
            return plain
        return of_async if plain is None else min(plain, of_async)
