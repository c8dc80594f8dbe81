"""A worker in a process of its own, whose attempts end as its standard input says.

Argument: the database's URL. It writes a line for each attempt that begins: the event's id and the number of the
attempt. It reads lines with the event's id, a result, and the seconds to the next attempt.
"""

import os
import signal
import sys
import threading

from extension_kit.deliveries.handler import Handler
from extension_kit.deliveries.hung_runs import HungRuns
from extension_kit.deliveries.retry import RetrySchedule
from extension_kit.engine import scribe, shares
from extension_kit.engine.worker import DeliveryWorker
from extension_kit.senders import Outcome
from extension_kit.store.database import Database

THREADS = 64


def main(url: str, *listeners: str) -> None:
    shares.SLOW = scribe.SLOW = 3600.0  # slow listeners would have to leave threads free
    outcomes: dict[str, Outcome] = {}
    changed = threading.Condition()

    def make(due):
        with changed:
            print(due.event_id, due.number, flush=True)
            changed.wait_for(lambda: due.event_id in outcomes)
            return outcomes.pop(due.event_id)

    def listen():
        for line in sys.stdin:
            name, result, seconds = line.split()
            with changed:
                outcomes[name] = Outcome(result, None if result == "delivered" else "as told", retry_in=float(seconds))
                changed.notify_all()
        os._exit(0)

    handler = Handler(make, RetrySchedule((0.01,) * 500), 3600.0)
    worker = DeliveryWorker(
        Database(url, flush=False), lambda listener, connection: handler, HungRuns(100, lambda: None),
        threads=THREADS, stalled_after=30.0, grace_period=0.2, name="driven",
        experience=lambda: [(listener, 0.0, True) for listener in listeners],
    )  # fmt: skip
    threading.Thread(target=listen, daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: worker.stop())
    worker.run()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
