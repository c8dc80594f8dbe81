"""News: the notes of other threads for the thread of a scribe, which waits for them."""

import threading

from extension_kit.deliveries.state import UnwrittenState
from extension_kit.engine.lane import Note

ENOUGH = 24
"""Number of notes that are written at once."""


class News:
    """Notes of lanes, and signs that there may be deliveries, from any thread.

    Args:
        unwritten_state: gets the changes of ends until these are written.

    Attributes:
        changed: held while the others are read; notified when the scribe has to look.
        notes: those that were not taken yet.
        are_urgent: True if there may be deliveries, or threads have nothing to do.
        stop_asked: True after ``stop``.
    """

    def __init__(self, unwritten_state: UnwrittenState) -> None:
        self._unwritten_state = unwritten_state
        self._idle = 0  # threads that have become idle since the notes were taken
        self.changed = threading.Condition()
        self.notes: list[Note] = []
        self.are_urgent = True
        self.stop_asked = False

    def tell(self, note: Note) -> None:
        """Add a note of a lane."""
        if note.end is not None:
            self._unwritten_state.add(note.end)  # before the lane goes on
        with self.changed:
            self.notes.append(note)
            if note.busy is not None:
                self._idle += 1
            is_idle = note.busy is not None and self._idle >= note.busy
            self.are_urgent |= is_idle
            if is_idle or len(self.notes) in (1, ENOUGH):
                self.changed.notify()

    def wake(self) -> None:
        """Have the scribe look for deliveries."""
        with self.changed:
            self.are_urgent = True
            self.changed.notify()

    def stop(self) -> None:
        """Have the scribe stop."""
        self.stop_asked = True
        with self.changed:
            self.changed.notify()

    def take(self) -> tuple[list[Note], bool]:
        """Return and forget the notes, and if they were urgent."""
        with self.changed:
            notes, self.notes = self.notes, []
            were_urgent, self.are_urgent, self._idle = self.are_urgent, False, 0
        return notes, were_urgent

    def pause(self, seconds: float) -> None:
        """Wait, after a stop until the next news, and before it at most until the stop."""
        with self.changed:
            if not self.stop_asked:
                self.changed.wait_for(lambda: self.stop_asked, seconds)
            else:
                self.changed.wait(seconds)
