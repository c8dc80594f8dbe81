"""Ready-made extensions as users serve them, and the events of runs that are sent to them."""

import http.client
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from extension_kit import Extension
from extension_kit.agent.factory import EventFactory
from extension_kit.testing import InMemoryAgent
from tests.support.durable import prepared, statuses
from tests.support.paths import KIT
from tests.support.servers import Served, run_server
from tests.support.waiting import wait_until

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # where the store does not matter

FOLDER = Path(__file__).parents[2] / "extensions"
_VARIABLES = {"EXTENSION_DELIVERY_ALLOW_NETWORKS": "127.0.0.0/8", "EXTENSION_STALLED_AFTER": 2}


@contextmanager
def serving(name: str, log: Path, *options: str, command: str = "serve", **environment: object) -> Iterator[Served]:
    """Start a command of the kit for one of the extensions, and end it with all its processes."""
    with run_server([KIT, command, str(FOLDER / name), *options], log, **{**_VARIABLES, **environment}) as served:
        yield served


def server_of(
    name: str, database_url: str, folder: Path, variables: Mapping[str, object]
) -> Callable[..., AbstractContextManager[Served]]:
    """Return a function that starts commands of the kit for an extension, on one database: ``with serve() as server``.

    Each has a log of its own in a folder.
    """
    common = {**prepared(database_url, folder / "ledger"), **variables}
    numbers = itertools.count()

    def serve(*options: str, command: str = "serve", **environment: object) -> AbstractContextManager[Served]:
        log = folder / f"log-{next(numbers)}"
        return serving(name, log, *options, command=command, **{**common, **environment})

    return serve


def agents_of(
    extension: Extension, prefix: str, variables: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., InMemoryAgent]:
    """Return a function that makes in-memory agents for an extension: ``make(TAGS="a")`` sets the variable PREFIX_TAGS.

    Of the variables with the prefix, the environment has these and the given ones alone.
    """

    def make(**settings: str) -> InMemoryAgent:
        for name in [name for name in os.environ if name.startswith(prefix)]:
            monkeypatch.delenv(name)
        named = {f"{prefix}{name}": value for name, value in settings.items()}
        for name, value in {**_VARIABLES, **variables, **named}.items():
            monkeypatch.setenv(name, str(value))
        return InMemoryAgent(extension)

    return make


def accepting(served: Served) -> Served:
    """Wait until a server accepts events, whether it can deliver them or not."""

    def answers() -> bool:
        assert served.process.poll() is None, served.log
        return served.health("readiness/accepting") == 200

    wait_until(answers)
    return served


def reasons(served: Served) -> str:
    """The answer of the readiness probe: nothing, or why it is not ready."""
    connection = http.client.HTTPConnection("127.0.0.1", served.health_port, timeout=30)
    try:
        connection.request("GET", "/health/readiness")
        response = connection.getresponse()
        return "" if response.status == 200 else response.read().decode()
    except ConnectionError:
        return ""
    finally:
        connection.close()


def runs(number: int, steps: int = 2, seed: int = 0) -> list[list[dict]]:
    """The events of some runs, each of which began just now: by vendors, old events are treated in another way."""
    factory = EventFactory(seed, start=datetime.now(UTC) - timedelta(hours=2))
    outcomes = ("completed", "failed", "errored", "canceled")
    return [list(factory.run(outcome=outcomes[each % 4], steps=steps)) for each in range(number)]


def wait_for_reason(served: Served, reason: str) -> None:
    """Wait until the readiness probe gives a reason."""
    told = ""

    def is_told() -> bool:
        nonlocal told
        told = reasons(served) or told
        return reason in told

    try:
        wait_until(is_told)
    except AssertionError:
        raise AssertionError(f"not ready for another reason, or none: {told}") from None


def send(served: Served, path: str, events: Iterable[dict]) -> None:
    """Send events to a path, as an agent does; each has to be accepted."""
    for event in events:
        answer = served.post(path, event)
        assert answer.status == 200, answer.body


def wait_until_delivered(database_url: str, number: int, timeout: float = 90) -> None:
    """Wait until so many deliveries have succeeded, and no other is left."""
    try:
        wait_until(lambda: statuses(database_url) == {"delivered": number}, timeout)
    except AssertionError:
        raise AssertionError(f"deliveries: {statuses(database_url)}, not {number} delivered") from None
