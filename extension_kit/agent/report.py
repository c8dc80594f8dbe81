"""What came of the events an agent sent."""

import threading
from array import array
from collections import Counter
from dataclasses import dataclass, field
from math import ceil
from typing import NamedTuple

KEPT_REFUSALS = 5
"""How many refusals are kept word for word; the others are counted."""


def printable(text: str) -> str:
    """Make one line of what somebody else wrote, without what could steer a terminal."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())


class Refusal(NamedTuple):
    """One event that was not accepted: ``reason`` is what the extension said, or why there was no answer."""

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
    """Of these, those that the extension says had come before, so that nothing was run."""
    refused: Counter[str] = field(default_factory=Counter)
    """How often by status, or ``no answer``."""
    durations: "array[float]" = field(default_factory=lambda: array("d"))
    """Seconds until each answer."""

    def percentile(self, percent: float) -> float | None:
        """The seconds within which so many percent of the answers came; None without an answer."""
        if not self.durations:
            return None
        return sorted(self.durations)[ceil(len(self.durations) * percent / 100) - 1]


class Report:
    """What came of playing events. May be added to from several threads."""

    def __init__(self) -> None:
        self.events = 0
        self.unwanted = 0
        """Events that no listener wanted."""
        self.intervals = 1
        """How many intervals there were."""
        self.tallies: dict[str, Tally] = {}
        """By method and path, such as ``POST /events/page``."""
        self.refusals: list[Refusal] = []
        self.problems: list[str] = []
        """Sentences about the extension: it did not answer, or its registration document is not understood."""
        self._lock = threading.Lock()

    # Listeners may be added while another thread counts, hence the copies.

    @property
    def sent(self) -> int:
        """All requests made for events."""
        return sum(tally.sent for tally in list(self.tallies.values()))

    @property
    def accepted(self) -> int:
        """Those that were accepted."""
        return sum(tally.accepted for tally in list(self.tallies.values()))

    @property
    def known(self) -> int:
        """Those of them that had come before."""
        return sum(tally.known for tally in list(self.tallies.values()))

    @property
    def ok(self) -> bool:
        """Whether everything was accepted and nothing is wrong with the extension."""
        return self.sent == self.accepted and not self.problems

    def add_event(self, wanted: bool) -> None:
        """Count an event."""
        self.events += 1
        self.unwanted += not wanted

    def add_problem(self, problem: str) -> None:
        """Note something about the extension, once."""
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
