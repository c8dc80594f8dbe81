"""State of the database: pages need its tables, in the version of this release."""

import math
import time

from extension_kit.errors import StoreError
from extension_kit.store import version
from extension_kit.store.database import Database
from extension_kit.store.migrate import current

_KNOWN = 5.0  # seconds for which a usable database is not looked at again


class NothingYet(StoreError):
    """There are no tables yet: no extension with durable listeners has been started."""


class DatabaseState:
    """Checks, before pages read, that they can.

    Args:
        database: of the event log.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._usable_until = -math.inf

    def check(self) -> None:
        """Check the version of the tables, unless they were usable a moment ago.

        Raises:
            NothingYet: there are none yet.
            OlderSchema: the database has to be upgraded.
            NewerSchema: a later release has upgraded it.
            StoreError: the database cannot be used.
        """
        now = time.monotonic()
        if now < self._usable_until:
            return
        if self._usable_until > -math.inf:
            self._usable_until = now + _KNOWN  # one thread looks for all
        try:
            self._look()
        except StoreError:
            self._usable_until = -math.inf
            raise
        self._usable_until = now + _KNOWN

    def _look(self) -> None:
        database = self._database
        is_missing = database.is_sqlite and not database.path.exists()
        found = None if is_missing else current(database)
        if found is None:
            raise NothingYet(
                f"There are no events in {database.name} yet: an extension with durable listeners makes its tables "
                "when it is served."
            )
        version.check(found, database.name)
