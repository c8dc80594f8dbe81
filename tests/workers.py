"""Workers in a thread of the test."""

import threading
from contextlib import contextmanager

from extension_kit.engine.worker import DeliveryWorker


@contextmanager
def working(engine, attempt, **options):
    """A worker in a thread; stopped at the end."""
    options = {"concurrency": 4, "stalled_after": 30.0, "grace_period": 5.0, "name": "one", **options}
    worker = DeliveryWorker(engine, attempt, **options)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield worker
    finally:
        worker.stop()
        thread.join(20)
        assert not thread.is_alive()
