"""The command ``extension-kit agent``: plays an agent and shows a report."""

import random
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any
from uuid import uuid4, uuid5

import click

from extension_kit.agent.connection import tls_context
from extension_kit.agent.display import progress, show
from extension_kit.agent.factory import EventFactory
from extension_kit.agent.recording import open_recording
from extension_kit.agent.report import Report
from extension_kit.agent.simulator import Agent
from extension_kit.errors import ConfigurationError
from extension_kit.settings.declare import TEXT, read_settings, setting

Groups = Iterable[Iterable[dict[str, Any]]]


def run(
    url: str,
    *,
    replay: str | None,
    generate: int | None,
    seed: int | None,
    basic: str | None,
    client_cert: str | None,
    client_key: str | None,
    ca: str | None,
    insecure: bool,
    fresh_ids: bool = False,
    **how: Any,
) -> int:
    """Play an agent with the options of the command line; ``how`` are arguments of ``Agent``.

    Returns:
        The exit code: 0 if every event was accepted, 1 if not, 130 if interrupted.

    Raises:
        ConfigurationError: the options contradict each other, or a file cannot be read.
    """
    if replay and generate:
        raise ConfigurationError("give either --replay or --generate, not both")
    agent = Agent(
        url,
        credentials=(basic, _password(basic)) if basic else None,
        tls=tls_context(ca=ca, cert=client_cert, key=client_key, insecure=insecure),
        **how,
    )
    report = Report()
    with _source(replay, generate or 1, seed) as (groups, unit, total), progress(report, unit, total) as advance:
        try:
            events = _flattened(groups, advance)
            agent.play(_with_fresh_ids(events) if fresh_ids else events, report)
            code = 0 if report.ok else 1
        except KeyboardInterrupt:
            code = 130
    show(report, fresh_ids)
    return code


@contextmanager
def _source(replay: str | None, generate: int, seed: int | None) -> Iterator[tuple[Groups, str, int | None]]:
    """Open the source of events: yields events in groups, the unit of progress, and the number of groups if known."""
    if replay:
        with open_recording(replay) as recording:
            yield ([event] for event in recording.events), "events", recording.total
        return
    if seed is None:
        # Ids of an earlier run would be duplicates to the extension, and times would be past.
        seed, start = random.randrange(1_000_000), datetime.now(UTC)  # noqa: S311
        click.echo(f"experiment runs made with --seed {seed}", err=True)
        factory = EventFactory(seed, start=start)
    else:
        factory = EventFactory(seed)
    yield islice(factory.apart(), generate), "experiment runs", generate


def _flattened(groups: Groups, advance: Callable[[], None]) -> Iterator[dict[str, Any]]:
    for group in groups:
        yield from group
        advance()


def _with_fresh_ids(events: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Give events new ids that no extension knows; events of equal ids get equal new ids."""
    run = uuid4()
    for event in events:
        yield {**event, "id": str(uuid5(run, str(event.get("id"))))} if "id" in event else event


@dataclass(frozen=True)
class _Secrets:
    password: str = setting("STEADYBIT_AGENT_BASIC_PASSWORD", "", TEXT, "Password of the user of --basic.", secret=True)


def _password(user: str) -> str:
    """Return the password for basic authentication. It is no option: all users of a machine can read command lines."""
    if password := read_settings(_Secrets).password:
        return password
    if not sys.stdin.isatty():
        raise ConfigurationError("--basic needs a password: set STEADYBIT_AGENT_BASIC_PASSWORD, or ..._PASSWORD_FILE")
    prompt: str = click.prompt(f"Password of {user}", hide_input=True, err=True)
    return prompt
