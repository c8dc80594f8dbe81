"""Reports of an agent: requests made, accepted and refused, by listener, and problems of the extension."""

import threading
from array import array
from collections import Counter
from dataclasses import dataclass, field
from math import ceil
from typing import NamedTuple

KEPT_REFUSALS = 5
"""Number of refusals kept with their text; the others are only counted."""


class Refusal(NamedTuple):
    """A refused event; ``reason`` is the text of the extension, or the reason why there was no answer."""

    event_name: str
    event_id: str
    endpoint: str
    outcome: str
    reason: str


@dataclass
class Tally:
    """The requests made to one listener."""

    sent: int = 0
    accepted: int = 0
    known: int = 0
    """Accepted requests of events that the extension knew already and did not run again."""
    refused: Counter[str] = field(default_factory=Counter)
    """Number of refused requests by status, or ``no answer``."""
    durations: "array[float]" = field(default_factory=lambda: array("d"))
    """Seconds until each answer."""

    def percentile(self, percent: float) -> float | None:
        """Return the seconds within which so many percent of the answers came; None without an answer."""
        if not self.durations:
            return None
        return sorted(self.durations)[ceil(len(self.durations) * percent / 100) - 1]


class Report:
    """The report of playing events. Thread-safe."""

    def __init__(self) -> None:
        self.events = 0
        self.unwanted = 0
        """Number of events without a listener."""
        self.intervals = 1
        """Number of intervals."""
        self.tallies: dict[str, Tally] = {}
        """Tallies by method and path, such as ``POST /events/page``."""
        self.refusals: list[Refusal] = []
        self.problems: list[str] = []
        """Sentences about the extension: it did not answer, or its registration document is not understood."""
        self._lock = threading.Lock()

    # Listeners may be added while another thread counts, hence the copies.

    @property
    def sent(self) -> int:
        """Number of requests made for events."""
        return sum(tally.sent for tally in list(self.tallies.values()))

    @property
    def accepted(self) -> int:
        """Number of accepted requests."""
        return sum(tally.accepted for tally in list(self.tallies.values()))

    @property
    def known(self) -> int:
        """Number of accepted requests of events that the extension knew already."""
        return sum(tally.known for tally in list(self.tallies.values()))

    @property
    def ok(self) -> bool:
        """True if every request was accepted and the extension has no problems."""
        return self.sent == self.accepted and not self.problems

    def add_event(self, wanted: bool) -> None:
        """Count an event."""
        self.events += 1
        self.unwanted += not wanted

    def add_problem(self, problem: str) -> None:
        """Add a problem of the extension, once."""
        if problem not in self.problems:
            self.problems.append(problem)

    def add_accepted(self, endpoint: str, seconds: float, *, known: bool = False) -> None:
        """Count an event that a listener accepted, or knew already."""
        with self._lock:
            tally = self._tally(endpoint)
            tally.accepted += 1
            tally.known += known
            tally.durations.append(seconds)

    def add_refused(self, refusal: Refusal, seconds: float | None) -> None:
        """Count an event that a listener refused, or to which there was no answer."""
        with self._lock:
            tally = self._tally(refusal.endpoint)
            tally.refused[refusal.outcome] += 1
            if seconds is not None:
                tally.durations.append(seconds)
            if len(self.refusals) < KEPT_REFUSALS:
                self.refusals.append(refusal)

    def _tally(self, endpoint: str) -> Tally:
        tally = self.tallies.setdefault(endpoint, Tally())
        tally.sent += 1
        return tally
