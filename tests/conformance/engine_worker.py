"""A worker in a process of its own, to be frozen and killed.

Arguments: the database's URL, a directory, and the seconds after which a worker is stalled. In the file ``ledger`` of
the directory it notes the beginning and the end of each attempt; an attempt lasts until there is a file ``go``. While
there is a file ``claiming``, the worker stands still in its transactions, and notes that in the ledger.
"""

import logging
import os
import sys
import time
from pathlib import Path

from extension_kit.deliveries.handler import Handler
from extension_kit.deliveries.hung_runs import HungRuns
from extension_kit.deliveries.retry import RetrySchedule
from extension_kit.engine.worker import DeliveryWorker
from extension_kit.senders import Outcome
from extension_kit.store.database import Database


def main(url: str, directory: str, stalled_after: str) -> None:
    ledger, go, claiming = (Path(directory) / name for name in ("ledger", "go", "claiming"))

    def note(word: str, name: str) -> None:
        descriptor = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, f"{word} {name}\n".encode())
        os.close(descriptor)

    def make(due) -> Outcome:
        note("start", due.event_id)
        while not go.exists():
            time.sleep(0.005)
        note("end", due.event_id)
        return Outcome("delivered")

    def find(listener, connection) -> Handler:
        if claiming.exists():
            note("claims", listener)
            while claiming.exists():
                time.sleep(0.005)
        return Handler(make, RetrySchedule((0.01,) * 30), 60.0)

    logging.basicConfig(level=logging.INFO)
    database = Database(url, flush=False)
    options = {"threads": 4, "stalled_after": float(stalled_after), "grace_period": 5, "name": "other"}
    DeliveryWorker(database, find, HungRuns(2, lambda: None), **options).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
