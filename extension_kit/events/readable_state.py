"""Readable state: the values and sums of an extension, to be read within deliveries and outside of them."""

from typing import Any

import orjson

from extension_kit.events.state_values import StateReader, check_key, check_selection


class ReadableState:
    """The keys and values of an extension.

    Args:
        reader: reads them.
    """

    def __init__(self, reader: StateReader | None) -> None:
        self._reader = reader

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a key, or ``default`` without one.

        Args:
            key: 1 to 200 characters.
            default: returned without a value.

        Returns:
            The value as it is read from JSON, anew in each call.

        Raises:
            TypeError: the key is no text.
            ValueError: the key is empty or too long, or holds characters that a database does not store.
            RuntimeError: this is a thread with a running event loop, as in an async function: use ``aget``.
            StoreError: the database cannot be read.
        """
        check_key(key)
        reader = self._bound()
        _refuse_loop("state.get", "await state.aget(key)")
        return _decoded(reader.find(key), default)

    async def aget(self, key: str, default: Any = None) -> Any:
        """Return the value of a key, or ``default`` without one, in an async function; see ``get``."""
        import asyncio  # slow to import, and imported already where this is called

        from extension_kit.events.function_loop import FUNCTION_LOOP

        check_key(key)
        reader = self._bound()
        found = await asyncio.get_running_loop().run_in_executor(FUNCTION_LOOP.state_threads, reader.find, key)
        return _decoded(found, default)

    def keys(self, prefix: str = "", limit: int = 1000) -> list[str]:
        """Return the first keys that begin with a prefix, sorted.

        Args:
            prefix: the beginning of the keys.
            limit: maximum number of keys, up to 100,000.

        Raises:
            TypeError: the prefix is no text, or the limit no whole number.
            ValueError: one of them is out of range.
            RuntimeError: this is a thread with a running event loop, as in an async function.
            StoreError: the database cannot be read.
        """
        return self._for_selection("keys", prefix, limit).keys(prefix, limit)

    def _for_selection(self, method: str, prefix: str, limit: int) -> StateReader:
        """Return the reader for a method that reads keys with a prefix, after its checks."""
        check_selection(prefix, limit)
        reader = self._bound()
        _refuse_loop(f"state.{method}", f"await asyncio.to_thread(state.{method})")
        return reader

    def _bound(self) -> StateReader:
        if self._reader is None:
            raise RuntimeError("extension.state can be read once the extension is served, with a durable listener")
        return self._reader


class ExtensionState(ReadableState):
    """The state of an extension, to be read outside deliveries: the values that are committed."""

    def __init__(self) -> None:
        super().__init__(None)

    def bind(self, reader: StateReader) -> None:
        """Read from a reader from now on."""
        self._reader = reader

    def sums(self, prefix: str = "", limit: int = 1000) -> dict[str, float]:
        """Return the first sums with a prefix by key, sorted: the numbers that deliveries have added.

        Args:
            prefix: the beginning of the keys.
            limit: maximum number of sums, up to 100,000.

        Raises:
            TypeError: the prefix is no text, or the limit no whole number.
            ValueError: one of them is out of range.
            RuntimeError: this is a thread with a running event loop, as in an async function.
            StoreError: the database cannot be read.
        """
        return self._for_selection("sums", prefix, limit).sums(prefix, limit)


def is_in_loop() -> bool:
    """Return True in a thread with a running event loop."""
    import asyncio  # slow to import, which immediate listeners need not wait for

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _refuse_loop(name: str, instead: str) -> None:
    if is_in_loop():
        raise RuntimeError(f"{name} waits for the database, which would hold up the event loop: write {instead}")


def _decoded(found: bytes | None, default: Any) -> Any:
    return default if found is None else orjson.loads(found)
