"""Filing thread: files accepted events in a worker, as soon as they come in."""

import logging
import threading
import time
from collections.abc import Callable

from extension_kit.deliveries.filing import Filing
from extension_kit.engine.outages import Outages
from extension_kit.errors import StoreError
from extension_kit.store import deadline

logger = logging.getLogger("extension_kit.engine")

_APART = 0.01  # seconds between the starts of two transactions: under load each files more events
# Seconds after which one looks for events without having been told: a bell may not reach another container.
_LOOK = 0.25
_POLL = 1.0  # the same on PostgreSQL, whose notifications reach everybody
_FIRST_LOOK = 0.02  # seconds for a thread that stands by; twice as many each time
_PAUSE = 1.0  # seconds after an error in the kit itself
_MANY = 256  # events filed at once, of which one may conclude that more wait
_LONGEST_TURN = 0.25  # seconds in which deliveries are held up
_STOP = 5.0  # seconds for the transaction in progress


class FilingThread:
    """A thread that files the events of an inbox.

    Args:
        filing: files them.
        tell: called after events were filed: there may be new deliveries.
        is_mine: False while another worker of the same database does it.
    """

    def __init__(self, filing: Filing, tell: Callable[[], None], is_mine: Callable[[], bool]) -> None:
        self._filing = filing
        self._tell = tell
        self._is_mine = is_mine
        self._outages = Outages("filing of events")
        self._standby = _FIRST_LOOK
        self._is_behind = False
        self._yields_at = 0.0
        self._news = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="filing", daemon=True)

    def start(self) -> None:
        """Start the thread; it is a daemon."""
        self._thread.start()

    def wake(self) -> None:
        """Look for events; from any thread."""
        self._news.set()

    def has_priority(self) -> bool:
        """Return True while many events wait, and no deliveries are to be claimed; but False a few times a second.

        Events come in as fast as they are accepted, and would otherwise pile up: filing shares a processor with
        deliveries, which wait longer than that anyway.
        """
        now = time.monotonic()
        if self._is_behind and now < self._yields_at:
            return True
        self._yields_at = now + _LONGEST_TURN
        return False

    def stop(self) -> None:
        """End the thread after its transaction in progress."""
        self._stopped.set()
        self._news.set()
        self._filing.inbox.ring()
        self._thread.join(_STOP)

    def _run(self) -> None:
        with deadline.patiently():
            while not self._stopped.is_set():
                began = time.monotonic()
                if self._work():
                    self._stopped.wait(max(began + _APART - time.monotonic(), 0))
                else:
                    self._wait()
        self._filing.close()

    def _work(self) -> bool:
        """File some events, and return True if there may be more."""
        if not self._is_mine():
            return False
        try:
            filed = self._filing.file_some()
        except StoreError as error:
            self._stopped.wait(self._outages.begin(error))
            return True
        except Exception:
            logger.exception("Filing of events failed, going on in %g s", _PAUSE)
            self._stopped.wait(_PAUSE)
            return True
        self._outages.end()
        self._is_behind = filed >= _MANY
        if filed:
            self._tell()
        return filed > 0

    def _wait(self) -> None:
        """Wait for news, or a while where another worker has them."""
        bell = self._filing.inbox.bell
        if not self._is_mine() or self._filing.is_elsewhere:
            self._stopped.wait(self._standby)
            self._standby = min(2 * self._standby, _LOOK)
            return
        self._standby = _FIRST_LOOK
        if bell is not None:
            bell.wait(_LOOK)
        else:
            self._news.wait(_POLL)
            self._news.clear()
