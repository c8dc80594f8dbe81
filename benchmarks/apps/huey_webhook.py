"""Huey with a task that calls a webhook. ``python -m benchmarks.apps.huey_webhook NUMBER KEYS`` adds tasks."""

import os
import sys

from huey import SqliteHuey

from benchmarks.apps.webhook import post, work

huey = SqliteHuey(filename=os.environ["TASKS"], results=False)


@huey.task()
def deliver(name: str, body: str) -> None:
    post(f"/{name}", body.encode())


if __name__ == "__main__":
    from benchmarks.apps.huey_webhook import deliver as task  # by the name the worker knows it by

    for name, body in work(int(sys.argv[1]), int(sys.argv[2])):
        task(name, body)
