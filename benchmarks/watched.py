"""How much slower events are accepted while people watch the event log: the same server, alternately watched or not.

Each viewer asks for a page again every 5 seconds, as an open page does, with the tag of the content that it shows.
"""

import http.client
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from statistics import median

from benchmarks.load import Load
from benchmarks.measure import CONNECTIONS, generator
from benchmarks.report import Report, Settings
from benchmarks.servers import Running, ServerError, kit, running
from benchmarks.stores import WITHOUT_POSTGRESQL, Store, stores

_VIEWERS = 20
_EVERY = 5.0  # seconds
_PAGES = ("/", "/events", "/deliveries", "/deliveries?status=dead", "/receivers", "/runs")
_GOAL = 0.95


@dataclass
class _Round:
    """Loads of one round, and the number of pages that viewers got meanwhile."""

    unwatched: Load
    watched: Load
    pages: int

    @property
    def share(self) -> float:
        return self.watched.per_second / self.unwatched.per_second


def run(settings: Settings) -> list[Report]:
    """Measure both stores, each with a server of its own."""
    rounds, seconds = (1, 2.0) if settings.quick else (10, 5.0)
    rows, samples = [], []
    with stores() as found, settings.progress("watched", rounds * len(found)) as begin:
        for store in found:
            measured = []
            with _served(store) as (started, port):
                for number in range(rounds):
                    begin(f"round {number + 1}, {store.name}")
                    measured.append(_measure(started, port, seconds, watched_first=number % 2 == 1))
            shares = [each.share for each in measured]
            rows.append(
                [
                    store.name,
                    f"{median(each.unwatched.per_second for each in measured):,.0f}",
                    f"{median(each.watched.per_second for each in measured):,.0f}",
                    f"{median(shares):.2f} x ({min(shares):.2f} - {max(shares):.2f})",
                    f"{sum(each.pages for each in measured)}",
                    f">= {_GOAL:g} x",
                ]
            )
            samples += [{"store": store.name, "share": share} for share in shares]
    return [
        Report(
            f"Accepting events, one process and the worker, while {_VIEWERS} people watch the event log: "
            f"{CONNECTIONS} connections, {rounds} rounds of {seconds:g} s with and without them",
            ["store", "req/s", "watched, req/s", "share", "pages", "goal"],
            rows,
            [
                f"each viewer asks for one of {len(_PAGES)} pages every {_EVERY:g} s",
                *([WITHOUT_POSTGRESQL] if len(rows) < 2 else []),
            ],
            samples,
        )
    ]


@contextmanager
def _served(store: Store) -> Iterator[tuple[Running, int]]:
    port = random.randrange(20_000, 30_000)
    server = kit(f"extension-kit serve, {store.name}", "kit_durable", workers=1)
    with store.database() as url:
        own = {
            "EXTENSION_DATABASE_URL": url,
            "EXTENSION_EVENT_LOG_PORT": str(port),
            "EXTENSION_EVENT_LOG_OPEN": "loopback",
        }
        with running(replace(server, environment=server.environment | own)) as started:
            started.check()
            _wait_for_event_log(port)
            yield started, port


def _wait_for_event_log(port: int) -> None:
    end = time.monotonic() + 30
    while True:
        try:
            if _get(port, "/", "")[0] == 200:
                return
        except OSError:
            pass
        if time.monotonic() > end:
            raise ServerError("the event log does not answer")
        time.sleep(0.1)


def _measure(started: Running, port: int, seconds: float, *, watched_first: bool) -> _Round:
    loads, pages = {}, 0
    for is_watched in (watched_first, not watched_first):
        with (
            _viewers(port, _VIEWERS if is_watched else 0) as shown,
            generator(started, connections=CONNECTIONS, warm_up=1.0, seconds=seconds) as ended,
        ):
            loads[is_watched] = ended()
            pages += len(shown)
        if loads[is_watched].refused:
            raise ServerError(f"{started.server.name} refused events under load: {loads[is_watched].refused}")
    return _Round(loads[False], loads[True], pages)


@contextmanager
def _viewers(port: int, number: int) -> Iterator[list[int]]:
    """People who watch, while the block lasts: yields a list to which the status of each page is added."""
    ended = threading.Event()
    statuses: list[int] = []

    def watch(place: int) -> None:
        path, tag = _PAGES[place % len(_PAGES)], ""
        ended.wait(_EVERY * place / number)
        while not ended.is_set():
            status, tag = _get(port, path, tag)
            statuses.append(status)
            ended.wait(_EVERY)

    threads = [threading.Thread(target=watch, args=(place,)) for place in range(number)]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    if failed := [status for status in statuses if status not in (200, 304)]:
        raise ServerError(f"the event log answers {failed[0]}")


def _get(port: int, path: str, tag: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path, headers={"If-None-Match": tag} if tag else {})
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.headers.get("ETag", "")
    finally:
        connection.close()
