import threading

from extension_kit.events.function_pool import FunctionPool


def test_tasks_run_on_other_threads():
    pool = FunctionPool(2, 10)
    seen = []
    done = threading.Event()
    assert pool.submit(lambda: (seen.append(threading.current_thread()), done.set()))
    assert done.wait(10)
    assert seen[0] is not threading.current_thread()
    assert pool.close(10)


def test_as_many_run_at_once_as_there_are_threads():
    pool = FunctionPool(4, 10)
    together = threading.Barrier(5)
    for _ in range(4):
        assert pool.submit(lambda: together.wait(10))
    together.wait(10)  # breaks unless all four are running
    assert pool.close(10)


def test_more_wait_up_to_the_limit_and_no_further():
    pool = FunctionPool(1, 3)
    release, started = threading.Event(), threading.Event()
    done = []
    assert pool.submit(lambda: (started.set(), release.wait(10)))
    assert started.wait(10)
    assert [pool.submit(lambda: done.append(1)) for _ in range(5)] == [True, True, True, False, False]
    release.set()
    assert pool.close(10)
    assert len(done) == 3


def test_no_more_threads_than_allowed_are_started():
    pool = FunctionPool(3, 1000)
    done = threading.Semaphore(0)
    for _ in range(500):
        assert pool.submit(done.release)
    for _ in range(500):
        assert done.acquire(timeout=10)
    assert len(pool._threads) <= 3
    assert pool.close(10)


def test_a_closed_pool_takes_nothing():
    pool = FunctionPool(1, 10)
    assert pool.close(1)
    assert not pool.submit(lambda: None)


def test_closing_does_not_wait_for_a_function_that_hangs():
    pool = FunctionPool(1, 10)
    release, started = threading.Event(), threading.Event()
    pool.submit(lambda: (started.set(), release.wait(30)))
    assert started.wait(10)
    assert not pool.close(0.01)
    release.set()
