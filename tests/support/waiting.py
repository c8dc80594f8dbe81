"""Waiting for events, and never for time to pass."""

import time

START_TIMEOUT = 30.0


def wait_until(condition, timeout: float = START_TIMEOUT):
    """Ask again and again until the condition holds; its value is returned."""
    deadline = time.monotonic() + timeout
    while True:
        if value := condition():
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout} s in vain")
        time.sleep(0.02)
