"""The event log's application with settings of a test, a browser that looks at it, and events of some sources."""

import random
from datetime import timedelta

import pytest
from sqlalchemy import bindparam, insert, select, update

from extension_kit.deliveries.outbox import Outbox
from extension_kit.deliveries.tables import DEAD, DELIVERED, DISCARDED, WAITING, attempts, deliveries, events
from extension_kit.event_log.app import create_app
from extension_kit.event_log.context import EventLog
from extension_kit.settings.kit import Settings
from tests.support.event_log import BEGAN, PASSWORD, Browser
from tests.support.recording import entry

NAMES = ["experiment.execution.created", "experiment.execution.failed", "croneye.job.error", "job", "croneye.job"]
SOURCES = ["steadybit", "croneye", "Steadybit"]
ERRORS = ["no such host\nin line 2", "HTTP 503 100%_done", "Timeout", "ÄRGER", None]
LISTENERS = ["oncall.page@/events/page", "oncall.call@/events/call", "subscription:1", "subscription:12"]


@pytest.fixture
def filled(database):
    """120 events, a minute after the other, with 0 to 4 deliveries each."""
    chance = random.Random(7)
    entries = [
        entry(
            f"id-{n % 100}",
            *chance.sample(LISTENERS, chance.randint(1, 4)),
            source=SOURCES[n % 3] if n < 100 else "late",
            name=NAMES[n % 5],
            subject=f"ADM-{n % 7}/{n // 20}" if n % 4 else None,
            series=f"t/{n // 20}" if n % 4 else None,
            body=b"x" * n,
            received_at=BEGAN + timedelta(minutes=n),
        )
        for n in range(120)
    ]
    for each in entries:
        Outbox(database).record([each._replace(listeners=each.listeners if each.event_id != "id-13" else ())])
    with database.transaction() as connection:
        refs = connection.execute(select(deliveries.c.ref).order_by(deliveries.c.ref)).scalars().all()
        values = []
        for ref in refs:
            status = chance.choice([WAITING, DELIVERED, DELIVERED, DEAD, DISCARDED])
            stage = "ready" if status == WAITING else None
            error = chance.choice(ERRORS)
            ended_at = None if status == WAITING else BEGAN + timedelta(minutes=ref)
            values.append({"number": ref, "status": status, "stage": stage, "error": error, "ended_at": ended_at})
        columns = {**{name: bindparam(name) for name in ("status", "stage", "error", "ended_at")}, "attempts": 1}
        connection.execute(update(deliveries).where(deliveries.c.ref == bindparam("number")).values(columns), values)
        connection.execute(
            insert(attempts),
            [
                {
                    "delivery_ref": ref,
                    "number": 1,
                    "started_at": BEGAN + timedelta(minutes=place),
                    "ended_at": BEGAN + timedelta(minutes=place, seconds=1),
                    "result": chance.choice(["delivered", "failed", "refused", "lost", "handed back"]),
                }
                for place, ref in enumerate(refs)
            ],
        )
    return database


@pytest.fixture
def all_deliveries(filled):
    """The deliveries with their events, newest first."""
    with filled.read() as connection:
        of_event = (events.c.source, events.c.event_id, events.c.name, events.c.subject)
        query = select(*deliveries.c, *of_event).join_from(deliveries, events)
        return connection.execute(query.order_by(deliveries.c.ref.desc())).all()


@pytest.fixture
def all_events(filled):
    """The events, newest first."""
    with filled.read() as connection:
        return connection.execute(select(events).order_by(events.c.ref.desc())).all()


@pytest.fixture
def app_of(request):
    """Make the application: ``app_of(event_log_read_only=True)``; with a password, unless there is another way in."""

    def make(database=None, **settings):
        if not settings.keys() & {"event_log_open", "event_log_trusted_header"}:
            settings.setdefault("event_log_password", PASSWORD)
        return create_app(EventLog(Settings(**settings), database or request.getfixturevalue("sqlite")))

    return make


@pytest.fixture
def browser(app_of):
    return Browser(app_of())
