"""Command ``agent``: plays an agent against an extension, and shows a report."""

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

from extension_kit.errors import ConfigurationError
from extension_kit.settings.declare import TEXT, read_settings, setting

Groups = Iterable[Iterable[dict[str, Any]]]


@click.command()
@click.argument("url")
@click.option("--replay", metavar="FILE", help="Play events from a file: JSON lines or a JSON array; - for stdin.")
@click.option(
    "--generate",
    type=click.IntRange(min=1),
    metavar="N",
    help="Play N made-up experiment runs (default: 1): one fails, one completes, others by chance.",
)
@click.option("--seed", type=int, help="Make up the same runs, ids included, as an earlier call with this seed.")
@click.option("--fast", is_flag=True, help="No pauses, and no limit of events per interval.")
@click.option(
    "--role",
    type=click.Choice(["leader", "follower", "aws"]),
    default="leader",
    show_default=True,
    help="Role of the agent: others than the leader call only listeners that are not restricted to it.",
)
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="Events per interval.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0, min_open=True),
    default=5.0,
    show_default=True,
    help="Seconds between two batches.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    help="Seconds sent as Request-Timeout.",
)
@click.option("--wait", type=click.FloatRange(min=0), default=0.0, help="Seconds to wait for the extension to start.")
@click.option(
    "--concurrency", type=click.IntRange(1, 256), default=1, help="Events sent at a time; their order is lost."
)
@click.option("--redeliver", is_flag=True, help="Send every event twice.")
@click.option(
    "--fresh-ids", is_flag=True, help="Give events new ids: an extension does not run a repeated event again."
)
@click.option(
    "--basic",
    metavar="USER",
    help="Basic authentication; password: STEADYBIT_AGENT_BASIC_PASSWORD, or _FILE, or a prompt.",
)
@click.option("--client-cert", metavar="FILE", help="PEM file with the agent's certificate.")
@click.option("--client-key", metavar="FILE", help="PEM file with its key, unless the certificate's file has it.")
@click.option("--ca", metavar="FILE", help="PEM file with certificates to trust instead of the system's.")
@click.option("--insecure", is_flag=True, help="Accept any certificate.")
def agent(**options: Any) -> None:
    """Play a Steadybit agent against the extension at URL (http, https or unix:/path).

    Asks the extension for its event listeners before each batch of events, sends an event to each path that listens to
    it, and ends with a table of events sent, accepted, already known and refused. The exit code is 0 if every event was
    accepted, and 1 if not.
    """
    sys.exit(run(**options))


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
    from extension_kit.agent.connection import tls_context
    from extension_kit.agent.display import progress, show
    from extension_kit.agent.report import Report
    from extension_kit.agent.simulator import Agent

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
        from extension_kit.agent.recording import open_recording

        with open_recording(replay) as recording:
            yield ([event] for event in recording.events), "events", recording.total
        return
    from extension_kit.agent.factory import EventFactory

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
