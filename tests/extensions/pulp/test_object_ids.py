"""Object ids: their shape and order, and none twice over threads and processes."""

import os
import threading
import time
from itertools import pairwise

from extensions.pulp.object_ids import ObjectIds


def test_it_is_24_hex_digits_that_begin_with_the_time():
    before = int(time.time())
    id = ObjectIds().new()
    assert len(id) == 24
    assert set(id) <= set("0123456789abcdef")
    assert before <= int(id[:8], 16) <= int(time.time())


def test_they_ascend():
    ids = ObjectIds()
    assert all(first < second for first, second in pairwise(ids.new() for _ in range(5000)))


def test_two_makers_differ():
    first, second = ObjectIds().new(), ObjectIds().new()
    assert first[8:18] != second[8:18]


def test_threads_make_none_twice():
    ids, made, gate = ObjectIds(), [], threading.Barrier(8, timeout=30)

    def make():
        gate.wait()
        made.append([ids.new() for _ in range(2000)])

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len({id for some in made for id in some}) == 8 * 2000


def test_a_forked_process_has_ids_of_its_own():
    ids = ObjectIds()
    parent = ids.new()
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        os.write(writer, ids.new().encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as answer:
        forked = answer.read()
    assert os.waitpid(child, 0)[1] == 0
    assert len(forked) == 24
    assert forked[8:18] != parent[8:18]
    assert ids.new()[8:18] == parent[8:18]
