"""Makes attempts as the engine does, one after the other."""

import threading


def drive(steps):
    """Make an attempt, with what may never return on a thread of its own; return what it returns."""
    try:
        limited = next(steps)
        while True:
            thread = threading.Thread(target=limited.work, daemon=True)
            thread.start()
            thread.join(limited.seconds)
            limited = steps.send(not thread.is_alive())
    except StopIteration as end:
        return end.value
