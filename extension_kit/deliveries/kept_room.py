"""Database size limit: ended events are deleted early when the database is too large or its disk is full."""

import logging
import time

from extension_kit.deliveries.retention import allocated, is_low, make_room
from extension_kit.store.database import Database

logger = logging.getLogger("extension_kit.deliveries")

_REST = 20.0  # pause, in multiples of the time the last run took, so that it takes a small share of the process's time
_GROWTH = 1.05  # times the size before: PostgreSQL's tables do not shrink when rows are deleted


class KeptRoom:
    """Checks the size, which is cheap, and deletes ended events only when it is above the limit.

    Args:
        database: holds the events.
        keep_megabytes: size limit in MB (1,000,000 bytes) above which ended events are deleted early, oldest first.
    """

    def __init__(self, database: Database, keep_megabytes: float) -> None:
        self._database = database
        self._keep = keep_megabytes
        self._least = keep_megabytes * 1_000_000
        self._not_before = 0.0

    def look(self) -> None:
        """Check once, and delete ended events if needed.

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
                logger.info("%d events deleted early to free space", removed)
            if not self._database.is_sqlite:
                self._least = max(self._keep * 1_000_000, _GROWTH * allocated(self._database))
        finally:
            if not low:
                ended = time.monotonic()
                self._not_before = ended + _REST * (ended - began)
