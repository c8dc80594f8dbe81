"""Kill -9 of all processes at once, again and again: nothing is lost or made twice, and the order is kept.

KILL_ROUNDS (1000) in the environment says how often; ``make soak`` runs them. A few are run with the other tests.
"""

import bisect
import os
import time
from collections import Counter, defaultdict
from datetime import UTC, datetime
from typing import NamedTuple

import pytest

from tests.conformance.load import load
from tests.support.durable import Attempt, all_attempts, all_deliveries, statuses
from tests.support.ledgers import ended, strictly_ordered, wait_for_all
from tests.support.servers import Restarted, ready
from tests.support.waiting import wait_until

ROUNDS = int(os.environ.get("KILL_ROUNDS", "1000"))
AGAIN = 0.2  # share of the events that are sent again
EARLY = 0.2  # share of the kills that do not wait until the server is ready

pytestmark = pytest.mark.timeout(300)


class Kill(NamedTuple):
    """A kill: bytes in the ledger, and the time, when no process was left."""

    ledger: int
    time: datetime


@pytest.mark.parametrize(
    "rounds",
    [
        pytest.param(3, id="few"),
        pytest.param(ROUNDS, id="many", marks=[pytest.mark.soak, pytest.mark.timeout(600 + 30 * ROUNDS)]),
    ],
)
def test_all_processes_are_killed_at_once(rounds, serve, ledger, event, database_url, moments):
    kills: list[Kill] = []
    began = time.monotonic()
    # The schedule is long, so that no run of bad luck makes a dead letter.
    restarted = Restarted(lambda: serve(EXTENSION_WEB_WORKERS=2, RETRY=",".join(["0.02"] * 200)))
    try:
        with load(restarted, event, "/events/plain", keys=5, pause=0.1, again=AGAIN) as senders:
            for number in range(rounds):
                if moments.random() < EARLY:
                    time.sleep(moments.uniform(0, 2))  # a moment, not an event that is waited for
                else:
                    ready(restarted.server)
                    senders.wait_for_more(3)
                    size = ledger.stat().st_size
                    wait_until(lambda size=size: ledger.stat().st_size > size)
                    time.sleep(moments.uniform(0, 1))  # a moment, not an event that is waited for
                restarted.kill()
                kills.append(Kill(ledger.stat().st_size, datetime.now(UTC)))
                restarted.start()
                counts = f"{len(senders.accepted)} accepted, {senders.repeated} sent again"
                print(f"{time.strftime('%T')} kill {number + 1} of {rounds}, {counts}")
        wait_for_all(senders.accepted, ledger)
        wait_until(lambda: statuses(database_url).keys() == {"delivered"}, timeout=90)
    finally:
        restarted.close()
    deliveries = all_deliveries(database_url)
    assert set(senders.accepted) <= {delivery.event_id for delivery in deliveries}
    assert set(Counter((delivery.event_id, delivery.listener) for delivery in deliveries).values()) == {1}
    assert len({delivery.listener for delivery in deliveries}) == 1
    assert strictly_ordered(ledger)
    again = runs_made_again(ledger, kills, all_attempts(database_url))
    print(
        f"{rounds} kills in {time.monotonic() - began:.0f} s: {len(deliveries)} events delivered, {senders.repeated} "
        f"sent again, {sum(again)} runs made again, at most {max(again)} after a kill"
    )


def runs_made_again(ledger, kills: list[Kill], attempts: list[Attempt]) -> list[int]:
    """Check that functions ran again only where a killed worker had not written down the end of the run before.

    Args:
        ledger: with the runs.
        kills: kills of the worker.
        attempts: attempts of all deliveries.

    Returns:
        The number of runs made again after each kill.
    """
    runs: dict[str, list[int]] = defaultdict(list)  # numbers of kills before each run of an event
    place = 0
    for line in ledger.read_text().splitlines(keepends=True):
        word, event_id, _ = line.split()
        if word == "start":
            runs[event_id].append(bisect.bisect_right(kills, place, key=lambda kill: kill.ledger))
        place += len(line)
    results: dict[str, list[str]] = defaultdict(list)
    for attempt in attempts:
        results[attempt.event_id].append(attempt.result)
        if attempt.result == "delivered":
            written = bisect.bisect_right(kills, attempt.ended_at, key=lambda kill: kill.time)
            assert written == runs[attempt.event_id][-1], f"{attempt.event_id} ran again after it had been delivered"
    assert runs.keys() == results.keys() == set(ended(ledger))
    for event_id, numbers in runs.items():
        assert len(set(numbers)) == len(numbers), f"{event_id} ran twice between two kills"
        assert results[event_id][-1] == "delivered"
        assert set(results[event_id][:-1]) <= {"lost"}
    again = Counter(number for numbers in runs.values() for number in numbers[1:])
    return [again[number] for number in range(1, len(kills) + 1)]
