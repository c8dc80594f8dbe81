"""What every worker does with a delivery: an HTTP POST to the receiver, which must answer 200."""

import os
import time
from collections.abc import Iterator

import urllib3

from benchmarks import events
from benchmarks.load import ID

pool = urllib3.HTTPConnectionPool(
    "127.0.0.1", int(os.environ.get("RECEIVER_PORT", "0")), maxsize=64, timeout=10, retries=False
)


_SECONDS = float(os.environ.get("WORK_SECONDS", "0"))  # that the work takes beside the request


def post(path: str, body: bytes) -> None:
    if _SECONDS:
        time.sleep(_SECONDS)
    answer = pool.urlopen("POST", path, body, {"Content-Type": "application/json"})
    if answer.status != 200:
        raise ConnectionError(f"the receiver answers {answer.status}")


def work(number: int, keys: int) -> Iterator[tuple[str, str]]:
    """So many events, as their ids, ``KEY/NUMBER``, and bodies."""
    body = events.encoded(events.small())
    for each in range(number):
        name = f"{each % keys}/{each}"
        yield name, body.replace(ID, name)
