"""Unwritten: ends and claims that a worker has to write to the database."""

from collections import defaultdict
from collections.abc import Iterable

from sqlalchemy import Connection

from extension_kit.deliveries.call_up import call_up
from extension_kit.deliveries.claims import Claim, End
from extension_kit.deliveries.state import write_state
from extension_kit.engine.queue import Queue


class Unwritten:
    """Ends of claims, claims that are given up, and locks without a lane."""

    def __init__(self) -> None:
        self.ends: list[End] = []
        self.locks: set[str] = set()
        self._released: defaultdict[str, list[Claim]] = defaultdict(list)

    def __bool__(self) -> bool:
        return bool(self.ends or self.locks or self._released)

    def release(self, claims: Iterable[Claim], stage: str) -> None:
        """Add claims that are given up; ``stage`` is that of their deliveries from then on."""
        if claims := list(claims):
            self._released[stage] += claims

    def claims(self) -> list[Claim]:
        """Return the claims that are to end or to be given up."""
        return [end.claim for end in self.ends] + [claim for claims in self._released.values() for claim in claims]

    def write(self, queue: Queue, connection: Connection) -> set[int]:
        """Write everything, and return the numbers of the ended deliveries with a claim that held."""
        held = queue.end(connection, self.ends) if self.ends else set()
        write_state(connection, self.ends, held)
        for stage, claims in self._released.items():
            queue.release(connection, claims, stage)
        if self.locks:
            call_up(connection, self.locks)
        return held
