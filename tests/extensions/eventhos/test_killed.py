"""Killed processes: no group begins before the one before it has ended, and nothing that was accepted is lost."""

import json
import os
import signal
import threading
from contextlib import suppress

from tests.extensions.eventhos.served import serving
from tests.support.receivers import reply
from tests.support.waiting import wait_until

GROUPS = {"/0/a": 0, "/0/b": 0, "/1/a": 1, "/2/a": 2, "/2/b": 2}
EVENTS = 40
KILLS = 5


def kill(processes):
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def test_kill_9_between_groups(database, world, receiver, tmp_path):
    answered, early, lock, pause = set(), [], threading.Lock(), threading.Event()

    def answer(request):
        number, group = json.loads(request.body)["n"], GROUPS[request.path]
        before = {(number, path) for path, other in GROUPS.items() if other < group}
        with lock:
            if not before <= answered:
                early.append((number, request.path))
        pause.wait(0.01)  # so that most kills hit calls in progress
        with lock:
            answered.add((number, request.path))
        return reply(500 if request.path == "/0/b" else 200)

    there = receiver(answer=answer)
    for path, group in GROUPS.items():
        world.add_contract(there.url(path, "127.0.0.1"), order=group)
    url = database.url.render_as_string(hide_password=False).replace("+psycopg", "")
    query = f"/event/send?event-identifier={world.identifier}"
    with serving(url, tmp_path / "first.log") as server:
        for number in range(EVENTS):
            assert server.post(query, {"n": number}, {"access-key": world.key}).status == 200
        for kills in range(1, KILLS + 1):
            wait_until(lambda kills=kills: len(answered) >= kills * 20)
            wait_until(lambda: server.children("worker"))
            kill(server.children("worker"))
        kill([server.process.pid, *server.children("serve"), *server.children("worker")])
    with serving(url, tmp_path / "second.log"):
        wait_until(lambda: len(answered) == EVENTS * len(GROUPS), timeout=90)
        wait_until(
            lambda: all(sorted(map(str, row["state"])) == ["error"] + ["processed"] * 4 for row in world.log()),
            timeout=30,
        )
    assert len(world.log()) == EVENTS
    assert early == []
