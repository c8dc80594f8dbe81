import asyncio
import logging
import threading
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from extension_kit.deliveries.contracts import Limited
from extension_kit.engine.making import Retry
from extension_kit.engine.task import Task, When
from extension_kit.errors import StoreUnavailable
from tests.conftest import wait_until

DUE = datetime(2026, 11, 21, 12, tzinfo=UTC)


def context(attempts=0):
    return SimpleNamespace(job=SimpleNamespace(id=1, worker_id=1, attempts=attempts))


@pytest.fixture
def decide(run):
    """Make an attempt, as a job which was tried so often before; returns what procrastinate is told, or None."""

    def decide(attempt, earlier=0):
        task = Task(attempt, 1, nullcontext)
        task.open()

        async def job():
            try:
                await task.run(context(earlier), delivery_ref=7)
            except BaseException as error:
                return When().get_retry_decision(exception=error, job=None)

        try:
            return run(job())
        finally:
            task.close()

    return decide


def test_an_attempt_is_told_the_delivery_and_ends_the_job(decide):
    seen = []
    assert decide(seen.append) is None
    assert seen == [7]


@pytest.mark.parametrize(
    ("answer", "lock"), [(DUE, None), (Retry(DUE), None), (Retry(DUE, "recovery:7"), "recovery:7")]
)
def test_an_attempt_says_when_to_make_the_next(decide, answer, lock):
    decision = decide(lambda ref: answer)
    assert (decision.retry_at, decision.lock) == (DUE, lock)


def raising(error):
    def attempt(ref):
        raise error

    return attempt


@pytest.mark.parametrize(
    "attempt",
    [
        raising(KeyError("x")),
        raising(SystemExit(1)),
        raising(StopIteration()),
        raising(asyncio.CancelledError()),
        lambda ref: datetime(2026, 11, 21),
        lambda ref: Retry(datetime(2026, 11, 21), "lock"),
        lambda ref: 5.0,
    ],
    ids=["error", "exit", "stop", "cancelled", "naive", "naive retry", "number"],
)
@pytest.mark.parametrize(("earlier", "pause"), [(0, 1), (3, 8), (12, 3600), (5000, 3600)])
def test_a_mistake_is_logged_and_the_pause_grows(decide, attempt, earlier, pause, caplog):
    before = datetime.now(UTC)
    decision = decide(attempt, earlier)
    assert before + timedelta(seconds=pause) <= decision.retry_at <= datetime.now(UTC) + timedelta(seconds=pause)
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info
    assert "delivery 7" in record.getMessage()


def test_a_database_that_is_gone_is_no_mistake(decide, caplog):
    before = datetime.now(UTC)
    assert decide(raising(StoreUnavailable("The database cannot be reached")), 12).retry_at <= before + timedelta(
        seconds=60
    )
    [record] = caplog.records
    assert (record.levelno, record.exc_info) == (logging.WARNING, None)
    assert "cannot be reached" in record.getMessage()


def test_a_job_that_a_stop_has_broken_off_is_done_again_at_once():
    decision = When().get_retry_decision(exception=asyncio.CancelledError(), job=None)
    assert (decision.retry_at, decision.lock) == (None, None)


def running():
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("delivery-")}


def test_there_are_as_many_threads_as_asked_for_and_they_end(run):
    barrier = threading.Barrier(3)
    names = set()

    def attempt(ref):
        names.add(threading.current_thread().name)
        barrier.wait(20)

    task = Task(attempt, 3, nullcontext)
    task.open()
    assert running() == {"delivery-0", "delivery-1", "delivery-2"}

    async def jobs():
        await asyncio.gather(*(task.run(context(), ref) for ref in range(9)))

    run(jobs())
    assert names == {"delivery-0", "delivery-1", "delivery-2"}
    task.close()
    wait_until(lambda: not running())


def test_an_attempt_that_ends_when_nobody_waits_any_more_does_no_harm(run):
    go, ended = threading.Event(), threading.Event()

    def attempt(ref):
        assert go.wait(20)
        ended.set()

    task = Task(attempt, 1, nullcontext)
    task.open()

    async def broken_off():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await task.run(context(), 1)
        go.set()
        while not ended.is_set():
            await asyncio.sleep(0.001)

    run(broken_off())
    go.clear()
    ended.clear()

    async def left_behind():
        left = asyncio.create_task(task.run(context(), 2))
        await asyncio.sleep(0)
        assert not left.done()

    run(left_behind())
    go.set()
    assert ended.wait(20)
    task.close()


class TestWhatMayNeverReturn:
    def test_is_done_on_the_thread_of_the_attempt(self, decide):
        threads = []

        def attempt(ref):
            threads.append(threading.current_thread())
            assert (yield Limited(lambda: threads.append(threading.current_thread()), 30.0))
            return DUE

        assert decide(attempt).retry_at == DUE
        assert threads[0] is threads[1]

    def test_what_is_late_is_left_behind_and_the_attempt_goes_on_elsewhere(self, run):
        go, threads = threading.Event(), []

        def attempt(ref):
            threads.append(threading.current_thread())
            in_time = yield Limited(lambda: go.wait(20) if ref == 1 else None, 0.05 if ref == 1 else 30.0)
            threads.append(threading.current_thread())
            assert in_time is (ref != 1)

        task = Task(attempt, 1, nullcontext)
        task.open()

        async def jobs():
            await task.run(context(), 1)
            await task.run(context(), 2)

        run(jobs())
        lost, after, *others = threads
        assert after is not lost
        assert others == [after, after]
        assert lost.is_alive()
        go.set()
        lost.join(20)
        assert not lost.is_alive()
        task.close()
        wait_until(lambda: not running())

    def test_a_mistake_after_it_is_logged(self, decide, caplog):
        def attempt(ref):
            yield Limited(lambda: None, 30.0)
            raise KeyError("oops")

        assert decide(attempt) is not None
        assert "delivery 7" in caplog.records[0].getMessage()

    def test_every_one_of_many_is_watched(self, run):
        go, late = threading.Event(), []

        def attempt(ref):
            late.append((yield Limited(lambda: go.wait(20), 0.01 * (10 - ref))))

        task = Task(attempt, 9, nullcontext)
        task.open()

        async def jobs():
            await asyncio.gather(*(task.run(context(), ref) for ref in range(9)))

        run(jobs())
        assert late == [False] * 9
        go.set()
        task.close()
        wait_until(lambda: not running())
