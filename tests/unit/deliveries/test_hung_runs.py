import logging
import threading
from collections import Counter

import pytest

from extension_kit.deliveries.hung_runs import HungRuns
from tests.support.waiting import wait_until


@pytest.fixture
def hang():
    """Threads that hang until the test is over, or one of them is told to end."""
    events = []

    def hang():
        event = threading.Event()
        events.append(event)
        thread = threading.Thread(target=event.wait, args=(60,))
        thread.start()
        thread.end = event.set
        return thread

    yield hang
    for event in events:
        event.set()


def test_runs_count_until_their_thread_ends(hang):
    runs = HungRuns(99, list)
    assert runs.by_listener() == Counter()
    first, second = hang(), hang()
    for listener, thread in (("a", first), ("b", second), ("a", hang())):
        runs.add(listener, thread)
    assert runs.by_listener() == {"a": 2, "b": 1}
    first.end()
    second.end()
    first.join()
    second.join()
    assert runs.by_listener() == {"a": 1}


def test_a_new_process_is_asked_for_once_when_there_are_too_many(hang, caplog):
    asked = []
    runs = HungRuns(3, lambda: asked.append(1), apart=0.0)
    runs.add("a", hang())
    runs.add("b", hang())
    assert runs._timer is None
    with caplog.at_level(logging.ERROR):
        for _ in range(5):
            runs.add("a", hang())
        wait_until(lambda: asked)
    [record] = caplog.records
    assert "functions do not return: a (" in record.getMessage()
    assert asked == [1]


def test_a_process_is_kept_for_a_while_and_for_good_where_the_runs_have_ended_by_then(hang):
    asked = []
    runs = HungRuns(1, lambda: asked.append(1), apart=0.2)
    thread = hang()
    runs.add("a", thread)
    assert runs._timer is not None
    thread.end()
    wait_until(lambda: runs._timer is None)
    assert asked == []
    runs.add("a", hang())
    wait_until(lambda: asked)


def test_one_run_that_blocks_all_others_is_enough(hang):
    asked = []
    runs = HungRuns(99, lambda: asked.append(1), apart=0.0)
    thread = hang()
    runs.add("a", thread, blocks_others=True)
    wait_until(lambda: asked)
    thread.end()
    thread.join()
    assert not runs._is_full()
