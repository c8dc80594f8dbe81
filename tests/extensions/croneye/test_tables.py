"""The tables that are made are those that are used, and what happens for every event is looked up by an index."""

import pytest
from sqlalchemy import event, text

from extensions.croneye.job_page import read_jobs
from extensions.croneye.lost import report_lost
from extensions.croneye.overdue import report_overdue
from extensions.croneye.scheduler_page import read_schedulers
from extensions.croneye.tables import metadata
from tests.extensions.croneye.api import SETTINGS, at
from tests.support.migrations import differences

JOB = {"jobstore": "billing", "job_id": 7, "task": "invoice"}
RUN = {"job_id": 7, "time": 1_700_000_000, "next_scheduled_run_time": 1_700_000_060}


def test_the_revisions_make_the_tables_that_are_used(api):
    assert differences(api.database, metadata) == []


@pytest.fixture
def statements(api):
    """What SQLite executes, with its values; also what goes to the driver, past SQLAlchemy."""
    found, drivers = [], set()
    for database in (api.database, api.kit.database):
        database.dispose()  # it may keep a connection, which it would not check out
    engines = [api.database.engine, api.kit.database.engine]

    def note(driver, *_):
        drivers.add(driver)
        driver.set_trace_callback(found.append)

    for engine in engines:
        event.listen(engine, "checkout", note)
    yield found
    for engine in engines:
        event.remove(engine, "checkout", note)
    for driver in drivers:
        driver.set_trace_callback(None)


@pytest.mark.parametrize("session_api", ["sqlite"], indirect=True)
def test_nothing_looks_through_a_whole_table(api, statements):
    """On SQLite, whose plans, unlike PostgreSQL's, do not depend on how large tables are."""
    api.take({"event_code": 1, "alias": "billing"}, {"event_code": 512, **JOB}, {"event_code": 32768, **RUN})
    api.take({"event_code": 4096, **RUN}, {"event_code": 8192, "scheduled_run_time": 1_700_000_000, **RUN})
    api.take({"event_code": 32768, **RUN}, {"event_code": 65536, **RUN}, {"event_code": 256, "alias": "billing"})
    report_overdue(api.kit, SETTINGS, at(1_800_000_000))
    report_lost(api.kit, SETTINGS, at(4_000_000_000))
    seen = [each for each in statements if "croneye_" in each]
    assert len(seen) > 20
    with api.database.read() as connection:
        for statement in seen:
            plan = connection.connection.driver_connection.execute(f"EXPLAIN QUERY PLAN {statement}")
            scans = [row[3] for row in plan if row[3].startswith("SCAN")]
            assert not [step for step in scans if "CONSTANT" not in step and "VIRTUAL TABLE" not in step], statement


@pytest.mark.parametrize("session_api", ["sqlite"], indirect=True)
def test_pages_look_through_no_whole_table(api, statements):
    api.take({"event_code": 1, "alias": "billing"}, {"event_code": 512, **JOB}, {"event_code": 32768, **RUN})
    api.take({"event_code": 512, **JOB, "job_id": 8}, {"event_code": 4096, **RUN})
    statements.clear()
    with api.database.read() as connection:
        jobs = read_jobs(connection, SETTINGS, None, 1)
        assert read_jobs(connection, SETTINGS, jobs.next, 1).rows
        assert read_schedulers(connection, SETTINGS, '["a"]', 1).rows
    seen = [each for each in statements if "croneye_" in each]
    assert len(seen) > 8
    with api.database.read() as connection:
        for statement in seen:
            plan = connection.connection.driver_connection.execute(f"EXPLAIN QUERY PLAN {statement}")
            scans = [row[3] for row in plan if row[3].startswith(("SCAN croneye_", "SCAN run"))]
            assert not [step for step in scans if " USING " not in step], statement


def test_tables_are_called_after_the_extension(api):
    assert all(name.startswith("croneye_") for name in metadata.tables)
    with api.database.read() as connection:
        version = connection.execute(text("SELECT version_num FROM extension_kit_version_croneye")).scalar()
    assert version == "0002"
