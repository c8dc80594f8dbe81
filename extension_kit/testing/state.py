"""The state of an extension in memory, for tests, with the rules of the one in a database."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from extension_kit.events.state_values import MAX_KEYS, Addition, Change


class InMemoryState:
    """The keys and values of an extension."""

    def __init__(self) -> None:
        self._values: dict[str, tuple[bytes, datetime]] = {}
        self._sums: dict[str, float] = {}

    def find(self, key: str) -> bytes | None:
        """Return the value of a key in JSON; None without one."""
        value, expires_at = self._values.get(key, (None, None))
        return value if expires_at is not None and expires_at > datetime.now(UTC) else None

    def keys(self, prefix: str, limit: int) -> list[str]:
        """Return the first keys with a prefix, sorted."""
        return sorted(key for key in self.values() if key.startswith(prefix))[:limit]

    def sums(self, prefix: str, limit: int) -> dict[str, float]:
        """Return the first sums with a prefix by key, sorted."""
        found = sorted(key for key in self._sums if key.startswith(prefix))[:limit]
        return {key: self._sums[key] for key in found}

    def has_room_for(self, key: str) -> bool:
        """Return False if there are as many keys as there may be, and this one is new."""
        return key in {*self._values, *self._sums} or len(self._values) + len(self._sums) < MAX_KEYS

    def add(self, additions: Mapping[str, Addition]) -> None:
        """Add the numbers of an attempt that has delivered its event to sums."""
        for key, addition in additions.items():
            self._sums[key] = self._sums.get(key, 0.0) + addition.number

    def write(self, changes: Mapping[str, Change]) -> None:
        """Write the changes of an attempt that has delivered its event."""
        for key, change in changes.items():
            self._values.pop(key, None)
            if change.value is not None:
                self._values[key] = change.value, change.expires_at

    def values(self) -> dict[str, Any]:
        """Return the values, decoded, by key."""
        return {key: orjson.loads(value) for key in self._values if (value := self.find(key)) is not None}
