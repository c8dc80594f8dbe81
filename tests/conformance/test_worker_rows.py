"""Rows of worker processes, while they run and after they were killed."""

import signal

from extension_kit.deliveries.worker_rows import known_workers
from extension_kit.store.database import Database
from tests.support.servers import ready
from tests.support.waiting import wait_until


def test_workers_have_rows_while_they_run(work, database_url, environment):
    database = Database(database_url)

    def workers():
        with database.read() as connection:
            return known_workers(connection)

    try:
        with work(EXTENSION_WORKER_THREADS=7) as one:
            ready(one)
            (first,) = wait_until(workers)
            assert (first.pid, first.threads, first.busy) == (one.process.pid, 7, 0)
            with work() as two:
                wait_until(lambda: len(workers()) == 2)
                two.process.kill()
                two.process.wait(30)
            assert one.stop() == 128 + signal.SIGTERM
        assert [each.pid for each in workers()] == [two.process.pid]  # it could not remove its own
    finally:
        database.dispose()
