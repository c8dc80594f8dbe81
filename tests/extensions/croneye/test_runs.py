"""How submissions and ends are paired."""

from datetime import timedelta
from itertools import permutations
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extensions.croneye.runs import Mark, pair
from tests.extensions.croneye.api import at

NOW = 1_700_000_000


def start(seconds):
    return Mark(at(NOW + seconds), None, None)


def end(seconds, log=1, outcome="succeeded"):
    return Mark(at(NOW + seconds), outcome, log)


def found(marks):
    def seconds(mark):
        return None if mark is None else round(mark.at.timestamp() - NOW, 3)

    return sorted(((seconds(run.start), seconds(run.end)) for run in pair(marks)), key=str)


@pytest.mark.parametrize(
    ("marks", "expected"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param([start(0)], [(0, None)], id="it runs"),
        pytest.param([end(1)], [(None, 1)], id="its begin is not known"),
        pytest.param([start(0), end(1)], [(0, 1)], id="a run"),
        pytest.param([start(0), end(0)], [(0, 0)], id="at the same time"),
        pytest.param([start(0), end(1), start(2), end(3)], [(0, 1), (2, 3)], id="two runs"),
        pytest.param([start(0), start(10), end(11)], [(0, None), (10, 11)], id="an end is lost"),
        pytest.param([end(1), start(10), end(11)], [(10, 11), (None, 1)], id="a begin is lost"),
        pytest.param([end(0), start(0.002)], [(0.002, 0)], id="told of after it ended"),
        pytest.param(
            [end(0), start(0.002), end(1), start(1.002)], [(0.002, 0), (1.002, 1)], id="told of after each ended"
        ),
        pytest.param([end(0), start(0.6)], [(0.6, None), (None, 0)], id="too late to be the same"),
        pytest.param([start(0), start(1), end(2), end(3)], [(0, 3), (1, 2)], id="two at once"),
    ],
)
def test_pairs(marks, expected):
    assert found(marks) == sorted(expected, key=str)
    for order in list(permutations(marks))[:24]:
        assert found(order) == found(marks)


def test_the_duration_of_a_run():
    (run,) = pair([start(0), end(1.5)])
    assert run.duration == timedelta(seconds=1.5)
    (run,) = pair([end(0), start(0.1)])
    assert run.duration == timedelta()
    (run,) = pair([start(0), end(1, outcome="missed")])
    assert run.duration is None
    assert [run.duration for run in pair([start(5), end(1)])] == [None, None]


_MOMENTS = st.integers(0, 30).map(lambda tenths: tenths / 10)
_MARKS = st.lists(st.tuples(_MOMENTS, st.booleans()), max_size=12)


@given(_MARKS, st.randoms(use_true_random=False))
def test_every_mark_is_in_one_run_in_whatever_order_they_come(drawn, random):
    marks = [start(seconds) if is_start else end(seconds, log) for log, (seconds, is_start) in enumerate(drawn, 1)]
    paired = pair(marks)
    assert sorted(str(mark) for run in paired for mark in run if mark) == sorted(map(str, marks))
    shuffled = random.sample(marks, len(marks))
    assert sorted(map(str, pair(shuffled))) == sorted(map(str, paired))


def payload(mark, due=None):
    code = 32768 if mark.outcome is None else 4096
    sent = {"event_code": code, "job_id": 1, "time": mark.at.timestamp()}
    return sent | ({"scheduled_run_time": NOW + due} if due is not None else {})


@pytest.mark.parametrize("seed", range(12))
def test_what_is_stored_is_what_all_marks_together_say(api, seed):
    """Events come one at a time, in a random order, and only those near are looked at again."""
    random = Random(seed)
    marks = [start(random.randrange(100) / 10) for _ in range(8)]
    marks += [end(random.randrange(100) / 10, number) for number in range(1, 9)]
    for mark in random.sample(marks, len(marks)):
        api.take(payload(mark))
    stored = sorted(((run[0], run[1]) for run in api.runs), key=str)
    expected = [tuple(value if value is None else round(NOW + value, 3) for value in run) for run in found(marks)]
    assert stored == sorted(expected, key=str)


def test_runs_that_say_when_they_were_due_are_paired_for_certain(api):
    """Three at the same time, that end in the order in which they were due, which nobody could guess."""
    sent = [payload(start(0.1), due) for due in (0, 1, 2)]
    sent += [payload(end(5 + due), due) for due in (0, 1, 2)]
    for order in (sent, sent[::-1], sent[3:] + sent[:3]):
        api.clear()
        api.take(*order)
        assert [(begin, ended - NOW) for begin, ended, _ in sorted(api.runs)] == [
            (NOW + 0.1, 5 + due) for due in range(3)
        ]


def test_a_run_that_is_told_of_twice_is_two(api):
    api.take(*[payload(start(0)), payload(end(1))] * 2)
    assert api.runs == [(NOW, NOW + 1, "succeeded")] * 2
    api.clear()
    api.take(*[payload(start(0), 0), payload(end(1), 0)] * 2)
    assert api.runs == [(NOW, NOW + 1, "succeeded")] * 2


def test_the_newest_run_says_whether_a_job_runs(api):
    api.take(payload(start(0)), payload(start(10)), payload(end(11)))
    assert api.job["running_since"] is None  # the end of the first was lost
    api.take(payload(start(20)))
    assert api.job["running_since"] == at(NOW + 20)


def test_a_sender_that_never_tells_of_ends_costs_no_more_and_more(api, monkeypatch):
    monkeypatch.setattr("extensions.croneye.known_runs._MOST", 5)
    api.take(*(payload(start(number)) for number in range(10)), payload(end(9.5)))
    assert (NOW + 9, NOW + 9.5, "succeeded") in api.runs
    assert len(api.runs) == 10
