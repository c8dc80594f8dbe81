"""Kill -9 of all processes in the middle: every accepted event is kept, and none twice."""

import random
import time

import pytest

from tests.conformance.load import load
from tests.support.durable import statuses
from tests.support.servers import Restarted, ready
from tests.support.waiting import wait_until

KILLS = 6


@pytest.mark.timeout(300)
def test_events_are_kept_once(serve, target, kept_ids, event, database_url):
    seed = random.SystemRandom().randrange(1_000_000)
    print(f"seed {seed}")
    moments = random.Random(seed)
    restarted = Restarted(lambda: serve(EXTENSION_AUDIT_TARGET=target, EXTENSION_STALLED_AFTER=2))
    try:
        with load(restarted, event, "/events/audit", keys=4, pause=0.01) as senders:
            for _ in range(KILLS):
                ready(restarted.server)
                senders.wait_for_more(10)
                time.sleep(moments.uniform(0, 0.5))  # a moment, not an event that is waited for
                restarted.kill()
                restarted.start()
            senders.wait_for_more(10)
        wait_until(lambda: statuses(database_url).keys() == {"delivered"}, timeout=90)
    finally:
        restarted.close()
    kept = kept_ids()
    assert set(senders.accepted) <= set(kept)
    assert len(set(kept)) == len(kept)
