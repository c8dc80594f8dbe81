"""A worker in a process of its own, to be frozen and killed.

Arguments: the database's URL, a directory, and the seconds after which a worker is stalled. In the file ``ledger`` of
the directory it notes the beginning and the end of each attempt; an attempt lasts until there is a file ``go``.
"""

import logging
import os
import sys
import time
from pathlib import Path

from extension_kit.engine.app import Engine
from extension_kit.engine.worker import DeliveryWorker
from extension_kit.store.database import Database


def main(url: str, directory: str, stalled_after: str) -> None:
    ledger, go = Path(directory) / "ledger", Path(directory) / "go"

    def note(word: str, ref: int) -> None:
        descriptor = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, f"{word} {ref}\n".encode())
        os.close(descriptor)

    def attempt(ref: int) -> None:
        note("start", ref)
        while not go.exists():
            time.sleep(0.005)
        note("end", ref)

    logging.basicConfig(level=logging.INFO)
    engine = Engine(Database(url))
    DeliveryWorker(
        engine, attempt, concurrency=4, stalled_after=float(stalled_after), grace_period=5, name="other"
    ).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
