"""Transactions that lock one name run one after the other."""

import threading

import pytest

from extension_kit.store.locks import lock_name


def test_the_second_waits_for_the_end_of_the_first(database):
    order, first_has_it = [], threading.Event()

    def second():
        first_has_it.wait(30)
        with database.transaction() as connection:
            lock_name(connection, "door")
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with database.transaction() as connection:
        lock_name(connection, "door")
        first_has_it.set()
        thread.join(0.2)
        order.append("first")
    thread.join(30)
    assert order == ["first", "second"]


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_another_name_does_not_wait(database):
    with database.transaction() as one, database.transaction() as other:
        lock_name(one, "door")
        lock_name(other, "window")
