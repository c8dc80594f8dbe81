"""The pages that users write for the event log type-check, too."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection

from extension_kit.protocol import (
    Cell,
    EventProtocol,
    Kit,
    Link,
    LogPage,
    LogTable,
    Routes,
    Status,
    TimeBar,
    TimeBars,
)


@dataclass(frozen=True)
class DoorSettings:
    """There are none."""


def read_rings(connection: Connection, settings: DoorSettings, before: str | None, limit: int) -> LogTable:
    now = datetime.now(UTC)
    bars = TimeBars([TimeBar(now, None, "running", "front")])
    row: tuple[Cell, ...] = ("front", 1, 0.5, now, None, Status("failed"), Link("events", "/events"), bars)
    return LogTable(["Door"] * len(row), [row], next="2", period=(now, now), note="All doors")


def find_facts(body: bytes) -> Sequence[tuple[str, object]]:
    return [("Door", body.decode()), ("Since", datetime.now(UTC))]


def routes(kit: Kit, settings: DoorSettings) -> Routes:
    raise NotImplementedError


EventProtocol("door", DoorSettings, routes, log_pages=(LogPage("rings", "Rings", read_rings),), log_facts=find_facts)
LogPage("rings", "Rings", find_facts)  # type: ignore[arg-type]
LogTable(["Door"], [[b"front"]])  # type: ignore[list-item]
EventProtocol("door", DoorSettings, routes, log_facts=read_rings)  # type: ignore[arg-type]
