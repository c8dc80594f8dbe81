"""Exchanges at brokers: RabbitMQ where TEST_AMQP_URL leads to one."""

import os
import select
import socket
import uuid

import kombu
import kombu.utils.url
import pytest

from tests.support.receivers import TIMEOUT

URL = os.environ.get("TEST_AMQP_URL", "")
rabbitmq = pytest.mark.skipif(not URL, reason="TEST_AMQP_URL is not set: no RabbitMQ")


def relay(connection: socket.socket) -> None:
    """Pass everything on between a client and RabbitMQ, until one of them hangs up."""
    parts = kombu.utils.url.url_to_parts(URL)
    with socket.create_connection((parts.hostname, parts.port or 5672)) as onward:
        other = {connection: onward, onward: connection}
        while True:
            for end in select.select(list(other), [], [], TIMEOUT)[0]:
                if not (data := end.recv(65536)):
                    return
                other[end].sendall(data)


def url_through(port: int) -> str:
    """The URL of RabbitMQ by way of a port of this machine."""
    parts = kombu.utils.url.url_to_parts(URL)
    return f"amqp://{parts.username}:{parts.password}@127.0.0.1:{port}/%2f"


class Exchange:
    """A topic exchange with a queue that gets everything below ``a``, or of another binding."""

    def __init__(self, binding="a.#", name=None, *, durable=False, **options):
        self.name = name or f"test-{uuid.uuid4().hex}"
        self._connection = kombu.Connection(**options)
        exchange = kombu.Exchange(self.name, "topic", durable=durable, auto_delete=not durable)
        queue = self.name if name is None else f"test-{uuid.uuid4().hex}"
        exclusive = options["hostname"] == URL
        self._queue = kombu.Queue(queue, exchange, binding, exclusive=exclusive)(self._connection)
        self._queue.declare()

    def poll(self) -> kombu.Message | None:
        return self._queue.get(no_ack=True)

    def get(self) -> kombu.Message:
        found = self.poll()
        assert found is not None, "no message"
        return found

    @property
    def is_empty(self) -> bool:
        return self.poll() is None

    def remove(self) -> None:
        """Delete the queue, and with it an exchange that is deleted with its last queue."""
        self._queue.delete()

    def declare(self) -> None:
        """Make exchange and queue once more."""
        self._queue.declare()

    def close(self) -> None:
        self._queue.delete()
        self._connection.release()
