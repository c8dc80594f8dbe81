"""Celery with a task that calls a webhook, acknowledged when it has been done, as the kit does.

``python -m benchmarks.apps.celery_webhook NUMBER KEYS`` adds tasks, without arguments it removes the queue.
"""

import json
import os
import sys

from celery import Celery

from benchmarks.apps.webhook import post, work

app = Celery("benchmark", broker=os.environ["BROKER"])
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    task_default_queue=os.environ["QUEUE"],
    broker_transport_options=json.loads(os.environ.get("BROKER_OPTIONS", "{}")),
    broker_connection_retry_on_startup=True,
    worker_enable_remote_control=False,
)


@app.task
def deliver(name: str, body: str) -> None:
    post(f"/{name}", body.encode())


if __name__ == "__main__":
    from benchmarks.apps.celery_webhook import deliver as task  # by the name the worker knows it by

    if len(sys.argv) > 1:
        for name, body in work(int(sys.argv[1]), int(sys.argv[2])):
            task.delay(name, body)
    else:
        with task.app.connection() as connection:
            connection.default_channel.queue_delete(os.environ["QUEUE"])
