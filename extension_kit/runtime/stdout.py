"""Standard output, line by line, for functions on many threads."""

import io
import threading
from typing import Any, TextIO


class WholeLines(io.TextIOBase):
    """Writes whole lines, at once.

    Otherwise the texts of concurrent threads are mixed, and a pipe shows nothing before the buffer is full.

    Args:
        stream: the stream to write to.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._begun = threading.local()
        self._lock = threading.Lock()

    def write(self, text: str) -> int:
        """Write complete lines; keep the rest for this thread's next text."""
        lines, end, rest = (getattr(self._begun, "text", "") + text).rpartition("\n")
        self._begun.text = rest
        if end:
            self._put(lines + end)
        return len(text)

    def flush(self) -> None:
        """Write the line that this thread has begun."""
        if rest := getattr(self._begun, "text", ""):
            self._begun.text = ""
            self._put(rest)

    def _put(self, text: str) -> None:
        with self._lock:
            self._stream.write(text)
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
