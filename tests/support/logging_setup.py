"""The set-up of logging, which a command or a server started in this process changes."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from extension_kit.observability import attempt_scope


@contextmanager
def logging_restored() -> Iterator[None]:
    """Give the root logger its level and handlers back, and log lines their fields: other tests read log records."""
    root = logging.getLogger()
    level, handlers, shows = root.level, [*root.handlers], attempt_scope.shows_log_context
    try:
        yield
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers
        attempt_scope.shows_log_context = shows
