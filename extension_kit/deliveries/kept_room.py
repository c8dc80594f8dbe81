"""Keeps a database within its limit between the times at which it is cleaned, and makes room where a disk has none."""

import logging
import time

from extension_kit.deliveries.retention import allocated, is_low, make_room
from extension_kit.store.database import Database

logger = logging.getLogger("extension_kit.deliveries")

_REST = 20.0  # times as long as it took, so that it is not what a process is busy with, while there is room
_GROWTH = 1.05  # times the room that PostgreSQL's tables took before, which do not shrink when rows are removed


class KeptRoom:
    """Looks whether the limit has been passed, which is cheap, and only then removes what is over.

    Args:
        database: where events are.
        keep_megabytes: the room (of 1,000,000 bytes) above which events are removed early, oldest first.
    """

    def __init__(self, database: Database, keep_megabytes: float) -> None:
        self._database = database
        self._keep = keep_megabytes
        self._least = keep_megabytes * 1_000_000
        self._not_before = 0.0

    def look(self) -> None:
        """Look once.

        Raises:
            StoreError: the database cannot be used.
        """
        if time.monotonic() < self._not_before:
            return
        low = is_low(self._database)
        if not low and allocated(self._database) <= self._least:
            return
        began = time.monotonic()
        try:
            if removed := make_room(self._database, self._keep, shrink=low):
                logger.info("%d events were removed early, for want of room", removed)
            if not self._database.is_sqlite:
                self._least = max(self._keep * 1_000_000, _GROWTH * allocated(self._database))
        finally:
            if not low:
                ended = time.monotonic()
                self._not_before = ended + _REST * (ended - began)
