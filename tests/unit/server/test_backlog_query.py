"""The arbiter asks, a worker answers."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from extension_kit.observability.metrics_page import Backlog
from extension_kit.server.backlog_query import Inquiry
from tests.conftest import wait_until


@pytest.fixture
def asking():
    """Make inquiries that wait so many seconds."""
    made = []

    def make(patience):
        made.append(Inquiry(patience))
        return made[-1]

    yield make
    for inquiry in made:
        inquiry._asking.close()
        inquiry._answering.close()


@pytest.fixture
def fork():
    """Fork workers, which are killed at the end."""
    workers = []

    def fork(inquiry, read_backlog):
        pid = os.fork()
        if pid == 0:
            inquiry.answer(read_backlog)
            signal.pause()
        workers.append(pid)
        return pid

    yield fork
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_a_forked_worker_answers_as_often_as_it_is_asked(asking, fork):
    inquiry = asking(30)
    numbers = iter(range(100))
    fork(inquiry, lambda: Backlog(next(numbers), 0.5))
    assert [inquiry.ask() for _ in range(3)] == [Backlog(0, 0.5), Backlog(1, 0.5), Backlog(2, 0.5)]


def test_a_worker_that_does_not_know_says_so(asking, fork):
    inquiry = asking(30)
    fork(inquiry, lambda: None)
    assert inquiry.ask() is None
    assert inquiry.ask() is None


def test_when_one_worker_is_killed_another_one_answers(asking, fork):
    inquiry = asking(30)
    first = fork(inquiry, lambda: Backlog(7, 1.0))
    assert inquiry.ask() == Backlog(7, 1.0)
    os.kill(first, signal.SIGKILL)
    os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
    fork(inquiry, lambda: Backlog(8, 1.0))
    assert [inquiry.ask() for _ in range(3)] == [Backlog(8, 1.0)] * 3


def test_without_a_worker_the_wait_ends(asking):
    inquiry = asking(0.05)
    assert inquiry.ask() is None


def test_questions_that_nobody_takes_do_not_pile_up(asking):
    inquiry = asking(0.001)
    assert {inquiry.ask() for _ in range(1000)} == {None}


def test_an_answer_that_comes_too_late_is_not_taken_for_the_next_one(asking, fork):
    inquiry = asking(0.1)
    reader, writer = os.pipe()
    numbers = iter(range(1, 1000))

    def read_backlog():
        if (number := next(numbers)) == 1:
            os.read(reader, 1)
        return Backlog(number, 0.0)

    fork(inquiry, read_backlog)
    assert inquiry.ask() is None
    os.write(writer, b"1")
    answer = wait_until(inquiry.ask)
    assert answer.waiting > 1
    os.close(reader)
    os.close(writer)


def test_several_threads_may_ask(asking, fork):
    inquiry = asking(30)
    numbers = iter(range(100))
    fork(inquiry, lambda: Backlog(next(numbers), 0.0))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: inquiry.ask(), range(40)))
    assert sorted(answer.waiting for answer in answers) == list(range(40))
