"""The pages of series and subscriptions in the event log, and the facts of Tapis's events."""

from datetime import UTC, datetime, timedelta

import orjson
import pytest
from sqlalchemy import func, select, update

from extension_kit.deliveries.tables import events
from extension_kit.protocol import BadPlace, Status
from extensions.tapis import extension
from extensions.tapis.event_facts import find_facts
from extensions.tapis.log_pages import read_series, read_subscriptions
from extensions.tapis.tables import series
from tests.extensions.tapis.api import EMAIL, WEBHOOK
from tests.support import tapis_tokens
from tests.support.log_clients import log_client

NOW = datetime.now(UTC)
SECRET = {**WEBHOOK, "deliveryAddress": "https://receiver.example.com/hook?token=hush"}


@pytest.fixture
def table(world):
    """All rows of this test's tenant, of all pages: ``table(read_series, limit=2)``."""

    def table(read, limit=50):
        place, found = None, []
        while True:
            with world.database.read() as connection:
                page = read(connection, world.settings, place, limit)
            assert len(page.rows) <= limit
            rows = [dict(zip(page.columns, row, strict=True)) for row in page.rows]
            found += [row for row in rows if row["Tenant"] == world.tenant]
            if (place := page.next) is None:
                return found

    return table


def column(rows, name):
    return [row[name].word if isinstance(row[name], Status) else row[name] for row in rows]


class TestSeries:
    def test_have_names_and_numbers(self, jobs, table):
        for _ in range(3):
            jobs.publish(subject="job 7", seriesId="run/1")
        (row,) = table(read_series)
        assert (row["Series"], row["Subject"], row["Source"]) == ("run/1", "job 7", "https://tapis.io/jobs")
        assert row["Events"] == 3
        assert NOW <= row["Began"] < row["Last event"]
        assert row["Events kept"].path == "/events?source=tapis&subject=job+7"
        assert row["Deliveries"].path == "/deliveries?source=tapis&subject=job+7"

    def test_that_have_ended_are_left_out(self, jobs, table):
        jobs.publish(subject="a", seriesId="1")
        jobs.publish(subject="a", seriesId="1", endSeries=True)
        jobs.publish(subject="b")
        assert table(read_series) == []

    @pytest.mark.parametrize("limit", [1, 3, 50])
    def test_that_began_last_come_first_on_one_page_or_the_other(self, jobs, table, limit):
        for number in range(5):
            jobs.publish(subject="a", seriesId=str(number))
        jobs.publish(subject="a", seriesId="0")
        assert column(table(read_series, limit), "Series") == ["4", "3", "2", "1", "0"]

    def test_long_names_are_shortened(self, jobs, table):
        jobs.publish(subject="a" * 1000, seriesId="é" * 1000)
        (row,) = table(read_series)
        assert len(row["Subject"]) == len(row["Series"]) == 180 + 1 + 64

    def test_that_began_before_they_had_names_are_shown_by_their_key(self, world, jobs, table):
        jobs.publish(subject="a", seriesId="1")
        nameless = {"source": None, "subject": None, "series_id": None}
        with world.database.transaction() as connection:
            connection.execute(update(series).where(series.c.tenant == world.tenant).values(nameless))
        (row,) = table(read_series)
        assert len(row["Series"]) == 64
        assert (row["Events"], row["Events kept"]) == (1, None)

    @pytest.mark.parametrize(
        "place",
        [
            "",
            "x",
            "[]",
            "1",
            '["2026-11-21T10:00:00Z",1]',
            '[1,"a"]',
            '[null,"a"]',
            '["2026-11-21T10:00:00Z","\\u0000"]',
        ],
    )
    def test_other_places_are_refused(self, world, place):
        with world.database.read() as connection, pytest.raises(BadPlace):
            read_series(connection, world.settings, place, 50)


class TestSubscriptions:
    def test_have_a_filter_targets_and_a_state(self, jobs, table):
        jobs.create(name="first", typeFilter="jobs.*.*", subjectFilter="*", deliveryTargets=[WEBHOOK], ttlMinutes=60)
        jobs.create(name="second", enabled=False)
        rows = table(read_subscriptions)
        assert column(rows, "Subscription") == ["second", "first"]
        assert column(rows, "State") == ["disabled", "enabled"]
        first = rows[1]
        assert (first["Owner"], first["Events"], first["Subject"]) == ("testuser1", "jobs.*.*", "*")
        assert first["Targets"] == "WEBHOOK https://receiver.example.com/hook"
        assert timedelta(minutes=59) < first["Expiry"] - datetime.now(UTC) < timedelta(hours=3)
        assert column(rows, "Waiting deliveries") == column(rows, "Dead letters") == [0, 0]

    def test_of_many_targets_the_first_are_shown(self, jobs, table):
        targets = [{**WEBHOOK, "deliveryAddress": f"https://receiver.example.com/{number}"} for number in range(5)]
        jobs.create(deliveryTargets=targets)
        (row,) = table(read_subscriptions)
        assert row["Targets"].endswith(
            "/0, WEBHOOK https://receiver.example.com/1, WEBHOOK https://receiver.example.com/2, 2 more"
        )

    def test_count_the_deliveries_of_all_their_targets(self, world, jobs, table):
        jobs.create(deliveryTargets=[WEBHOOK, EMAIL])
        jobs.publish(subject="subject_1")
        jobs.publish(subject="subject_1")
        (row,) = table(read_subscriptions)
        assert (row["Waiting deliveries"], row["Dead letters"]) == (4, 0)

    def test_that_have_ended_are_expired(self, jobs, table):
        jobs.create(subjectFilter="subject_1")
        jobs.publish(subject="subject_1", deleteSubscriptionsMatchingSubject=True)
        assert column(table(read_subscriptions), "State") == ["expired"]

    @pytest.mark.parametrize("limit", [1, 2])
    def test_are_all_on_one_page_or_the_other(self, jobs, table, limit):
        for name in "abcde":
            jobs.create(name=name)
        assert column(table(read_subscriptions, limit), "Subscription") == [*"edcba"]

    @pytest.mark.parametrize("place", ["", "x", "-1", "1.0", "²", "9223372036854775808", "1" * 100])
    def test_other_places_are_refused(self, world, place):
        with world.database.read() as connection, pytest.raises(BadPlace):
            read_subscriptions(connection, world.settings, place, 50)


class TestFacts:
    def facts(self, world, jobs, **sent):
        jobs.create(subjectFilter="*")
        jobs.publish(**sent)
        return {label: value for label, value in find_facts(orjson.dumps(world.notifications()[0]["event"])) if value}

    def test_of_an_event_of_a_series(self, world, jobs):
        found = self.facts(world, jobs, subject="a", seriesId="1", data="x" * 1000, endSeries=True)
        assert found == {
            "Tenant": world.tenant,
            "User": "testuser1",
            "Service": "https://tapis.io/jobs",
            "Series": "1",
            "Place in the series": 1,
            "Ends its series": "yes",
            "Data": "x" * 200,
        }

    def test_of_an_event_without_one(self, world, jobs):
        found = self.facts(world, jobs, subject="a")
        assert found.keys() == {"Tenant", "User", "Service"}


def test_the_event_log_shows_the_pages_without_secrets(world, jobs, monkeypatch):
    jobs.create(subjectFilter="<b>", deliveryTargets=[SECRET])
    jobs.publish(subject="<b>", seriesId="<i>", data='{"token": "hush"}')
    monkeypatch.setenv("EXTENSION_TAPIS_JWT_SECRET", tapis_tokens.SECRET)
    with log_client(world.database, extension) as client:
        shown = client.get("/protocols/tapis/subscriptions").text
        assert "&lt;b&gt;" in shown
        assert "https://receiver.example.com/hook?token=***" in shown
        assert "hush" not in shown
        assert "hush" not in client.get("/api/protocols/tapis/subscriptions").text
        assert "&lt;i&gt;" in client.get("/protocols/tapis/series").text
        with world.database.read() as connection:
            ref = connection.execute(select(func.max(events.c.ref))).scalar_one()
        facts = client.get(f"/events/{ref}").text.partition("<dl")[2].partition("</dl>")[0]
        assert f"<dt>Tenant</dt><dd><bdi>{world.tenant}</bdi></dd>" in facts
        assert "hush" not in facts
