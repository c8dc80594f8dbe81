"""Readiness: the functions and extensions that can make no deliveries at the moment, with the reasons.

The deliveries of a function that is not ready wait, however long. One of them is attempted from time to time, as a
probe; the function is ready again when an attempt ends otherwise.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import NamedTuple

from extension_kit.deliveries.retry import MAX_DELAY
from extension_kit.deliveries.worker_rows import OpenCircuit
from extension_kit.observability import metrics
from extension_kit.observability.printable import printable
from extension_kit.observability.redaction import beginning
from extension_kit.senders import Outcome

logger = logging.getLogger("extension_kit.deliveries")

MOST_BYTES = 4000
"""Maximum length of all reasons together: a process writes them to a pipe at once."""

_MOST_CHARACTERS = 300  # of one reason
_SHORTEST, _USUAL = 1.0, 30.0  # seconds that a function rests
_EARLIER = 0.1  # part of the rest by which the probe comes before the delivery that was not ready
_QUIET = 30.0  # seconds in which a function that changes to and fro is logged once


class Resting(NamedTuple):
    """Functions of which deliveries wait.

    Attributes:
        listeners: keys of those that get no attempt.
        probed: keys of those that get one attempt.
        until: the time of the next probe, by ``time.monotonic()``.
    """

    listeners: frozenset[str] = frozenset()
    probed: frozenset[str] = frozenset()
    until: float = math.inf


@dataclass(slots=True)
class _Refusal:
    """Refusal of a function to make deliveries."""

    reason: str
    probe_at: float
    is_probed: bool = False
    is_logged: bool = False


def rest(outcome: Outcome) -> float:
    """Return the seconds that a function rests after an attempt in which it was not ready."""
    return min(max(_USUAL if outcome.retry_in is None else outcome.retry_in, _SHORTEST), MAX_DELAY)


class Readiness:
    """Readiness of the functions and extensions that the worker of a process delivers to. Thread-safe.

    Args:
        extensions: the extensions of functions, by listener key.

    Attributes:
        version: changes with every change.
        on_change: called after every change, from any thread.
    """

    def __init__(self, extensions: Mapping[str, str] = MappingProxyType({})) -> None:
        self.version = 0
        self.on_change: Callable[[], None] = lambda: None
        self._extensions = extensions
        self._refusals: dict[str, _Refusal] = {}
        self._reasons: dict[str, str] = {}
        self._logged: dict[str, float] = {}
        self._lock = threading.Lock()

    def may_attempt(self, listener: str) -> bool:
        """Return True if an attempt may begin; its outcome must be recorded."""
        if not self._refusals and not self._reasons:  # the usual case, asked before every attempt
            return True
        with self._lock:
            if self._extensions.get(listener) in self._reasons:
                return False
            refusal = self._refusals.get(listener)
            if refusal is None:
                return True
            if refusal.is_probed or time.monotonic() < refusal.probe_at:
                return False
            refusal.is_probed = True
            self.version += 1
            return True

    def record(self, listener: str, outcome: Outcome) -> None:
        """Record the outcome of an attempt: the function is ready, or rests."""
        if outcome.result == "not ready":
            seconds = rest(outcome)
            refusal = _Refusal(outcome.error or "", time.monotonic() + seconds * (1 - _EARLIER))
            with self._lock:
                known = self._refusals.get(listener)
                was_logged = known is not None and known.is_logged
                refusal.is_logged = was_logged or self._is_to_be_logged(listener)
                self._refusals[listener] = refusal
            if refusal.is_logged and not was_logged:
                waiting = "%s is not ready, its deliveries wait and one is tried every %g s: %s"
                logger.warning(waiting, listener, seconds, _shown(refusal.reason))
            self._changed(listener)
        elif self._refusals and listener in self._refusals:
            with self._lock:
                known = self._refusals.pop(listener, None)
            if known is not None:
                if known.is_logged:
                    logger.info("%s is ready again", listener)
                self._changed(listener)

    def tell(self, extension: str, reason: str | None, *, log: bool = True) -> None:
        """Note if an extension is ready.

        Args:
            extension: its name.
            reason: why no delivery can be made to its functions; None: it is ready.
            log: True logs a change from one to the other.
        """
        with self._lock:
            before = self._reasons.pop(extension, None)
            if reason is not None:
                self._reasons[extension] = reason
        if reason == before:
            return
        if log and before is None:
            logger.warning("%s is not ready, its deliveries wait: %s", extension, _shown(reason or ""))
        elif log and reason is None:
            logger.info("%s is ready again", extension)
        self._changed(extension)

    def resting(self) -> Resting:
        """Return the functions of which deliveries wait."""
        with self._lock:
            now = time.monotonic()
            waiting = {key for key, each in self._refusals.items() if each.is_probed or now < each.probe_at}
            of_extensions = {key for key, extension in self._extensions.items() if extension in self._reasons}
            probed = self._refusals.keys() - waiting - of_extensions
            times = [self._refusals[key].probe_at for key in waiting if not self._refusals[key].is_probed]
        return Resting(frozenset(waiting | of_extensions), frozenset(probed), min(times, default=math.inf))

    def reasons(self) -> list[str]:
        """Return the reasons, a line for each, without recognised secrets: 4,000 bytes at most in all."""
        with self._lock:
            found = [*self._reasons.items()]
            found += [(self._extensions.get(key, key), refusal.reason) for key, refusal in self._refusals.items()]
        lines: list[str] = []
        room = MOST_BYTES
        for line in dict.fromkeys(f"{printable(extension)}: {_shown(reason)}" for extension, reason in found):
            room -= len(line.encode()) + 1
            if room < 0:
                break
            lines.append(line)
        return lines

    def rests(self) -> list[OpenCircuit]:
        """Return the functions that are not ready, with the times of their next probes, for the worker's row."""
        with self._lock:
            now, wall = time.monotonic(), datetime.now(UTC)
            return [
                OpenCircuit(key, wall + timedelta(seconds=max(refusal.probe_at - now, 0)))
                for key, refusal in self._refusals.items()
            ]

    def start_counting(self) -> None:
        """Show all extensions in the metrics."""
        for extension in set(self._extensions.values()):
            self._count(extension)

    def _changed(self, name: str) -> None:
        with self._lock:
            self.version += 1
        self._count(self._extensions.get(name, name))
        self.on_change()

    def _count(self, extension: str) -> None:
        with self._lock:
            refusing = {self._extensions.get(key) for key in self._refusals}
            is_ready = extension not in self._reasons and extension not in refusing
        metrics.ready(extension, is_ready)

    def _is_to_be_logged(self, listener: str) -> bool:
        now = time.monotonic()
        if now - self._logged.get(listener, -math.inf) < _QUIET:
            return False
        self._logged[listener] = now
        return True


def _shown(reason: str) -> str:
    return printable(beginning(reason, _MOST_CHARACTERS)) or "without a reason"
