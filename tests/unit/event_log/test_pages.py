"""Pages without a browser: lists with their filters and places, single pages, tags of content, downloads."""

import json
import re
from datetime import UTC, datetime, timedelta
from html import unescape

import pytest

from extension_kit import Extension
from extension_kit.agent.factory import EventFactory
from extension_kit.deliveries import subscriptions
from extension_kit.deliveries.outbox import Outbox
from extension_kit.deliveries.pauses import pause
from extension_kit.deliveries.tables import DEAD, DELIVERED
from extension_kit.deliveries.worker_rows import OpenCircuit, WorkerRow, report
from extension_kit.events.event import Event
from tests.support.log_clients import log_client
from tests.support.recording import all_of, change, entry

NOW = datetime.now(UTC)
LISTS = ("/", "/events", "/deliveries", "/receivers", "/runs", "/actions")


@pytest.fixture
def client(database):
    with log_client(database) as client:
        yield client


def refs_in(page):
    """Numbers of the rows of a page's table."""
    return [int(ref) for ref in re.findall(r'<th scope="row"><a href="/\w+/(\d+)">', page.text)]


def link(page, rel):
    found = re.search(f'href="([^"]*)" rel="{rel}"', page.text)
    return unescape(found[1]) if found else None


@pytest.mark.parametrize("path", LISTS)
def test_an_empty_database_has_its_pages(client, path):
    page = client.get(path)

    assert page.status_code == 200
    assert "Traceback" not in page.text


@pytest.mark.parametrize("path", ["/events", "/deliveries", "/receivers", "/runs", "/actions"])
def test_content_that_is_the_same_is_not_sent_again(client, filled, path):
    tag = client.get(path).headers["ETag"]

    again = client.get(path, headers={"If-None-Match": tag})

    assert (again.status_code, again.data) == (304, b"")
    assert f"data-tag='{tag}'" in client.get(path).text
    with filled.transaction() as connection:
        pause(connection, "oncall.page@/events/page", "somebody")
    Outbox(filled).record([entry("new", "oncall.page@/events/page", source="steadybit", subject="ADM-1/1")])
    changed = client.get(path, headers={"If-None-Match": tag})
    assert changed.status_code == (304 if path == "/actions" else 200)


@pytest.mark.parametrize(("path", "number"), [("/events", 120), ("/deliveries", None)])
def test_older_pages_follow_until_the_end(client, filled, path, number):
    number = number or len(all_of(filled))
    seen, address = [], path
    while address:
        page = client.get(address)
        seen += refs_in(page)
        assert ("before=" in address) == (link(page, "first") is not None)
        address = link(page, "next")

    assert len(seen) == len(set(seen)) == number
    assert seen == sorted(seen, reverse=True)


def test_a_filter_stays_on_older_pages(client, filled):
    page = client.get("/deliveries?listener=oncall.")

    assert "listener=oncall." in link(page, "next")
    assert 'value="oncall."' in page.text
    rows = re.findall(r"<bdi>(\S+@\S+)</bdi>", page.text)
    assert len(rows) == 50
    assert all(row.startswith("oncall.") for row in rows)


@pytest.mark.parametrize("path", ["/events", "/deliveries"])
def test_empty_fields_of_a_form_are_not_in_the_address(client, path):
    page = client.get(f"{path}?event=&subject=ADM-1%2F2&from=")

    assert (page.status_code, page.headers["Location"]) == (303, f"{path}?subject=ADM-1%2F2")


@pytest.mark.parametrize(
    "path",
    [
        "/deliveries?status=broken",
        "/deliveries?from=yesterday",
        "/deliveries?before=x",
        "/events?event=a.b*",
        "/events?before=d1",
        "/receivers?after=-1",
        "/actions?before=1",
        "/?range=1y",
    ],
)
def test_a_bad_filter_is_explained(client, path):
    page = client.get(path)

    assert page.status_code == 400
    assert path.partition("?")[2].partition("=")[0] in page.text


@pytest.mark.parametrize("path", ["/events/99", "/events/99/body", "/deliveries/99", "/actions/99", "/runs/a/1"])
def test_a_page_of_nothing_is_not_found(client, path):
    assert client.get(path).status_code == 404


class TestOneEvent:
    @pytest.fixture
    def ref(self, database):
        body = {**EventFactory().event("experiment.execution.failed"), "apiToken": "hush"}
        event = Event.from_body(body)
        given = entry("1", "oncall.page@/a", source="steadybit", subject=event.subject, body=event.body)
        Outbox(database).record([given])
        (delivery,) = all_of(database)
        change(database, [delivery.ref], status=DEAD, stage=None, ended_at=NOW, error="GET /?token=hush")
        return delivery.event_ref

    def test_has_its_facts_its_deliveries_and_its_body_without_secrets(self, client, ref):
        page = client.get(f"/events/{ref}")

        assert "Experiment" in page.text
        assert "Caused by" in page.text
        assert 'href="/deliveries/1"' in page.text
        assert "apiToken" in page.text
        assert "hush" not in page.text

    def test_is_shown_as_it_was_sent_only_where_that_is_allowed(self, database, client, ref):
        assert "hush" not in client.get(f"/events/{ref}?raw=1").text
        assert "hush" not in client.get(f"/events/{ref}/body").text
        with log_client(database, event_log_raw=True) as other:
            assert "hush" in other.get(f"/events/{ref}?raw=1").text
            assert "hush" in other.get(f"/deliveries/{ref}?raw=1").text
            assert json.loads(other.get(f"/events/{ref}/body").data)["apiToken"] == "hush"

    def test_is_downloaded_as_a_file(self, client, ref):
        answer = client.get(f"/events/{ref}/body")

        assert answer.headers["Content-Disposition"] == f'attachment; filename="event-{ref}.json"'
        assert answer.headers["Content-Type"] == "application/json"

    def test_has_a_run(self, client, ref):
        page = client.get("/runs")
        address = unescape(re.search(r'<th scope="row"><a href="(/runs/[^"]+)">', page.text)[1])

        story = client.get(address)

        assert story.status_code == 200
        assert f'href="/events/{ref}"' in story.text
        assert "oncall.page@/a</bdi>: dead" in story.text


class TestReceivers:
    @pytest.fixture
    def extension(self):
        extension = Extension("oncall")

        @extension.listen_to("experiment.execution.failed")
        def page():
            pass

        @extension.listen_to("*", immediate=True)
        def look():
            pass

        return extension

    @pytest.fixture
    def client(self, database, extension):
        with log_client(database, extension) as client:
            yield client

    def rows(self, client, path="/receivers"):
        found = re.findall(r"<tr>\s*<th scope=\"row\">(.*?)</tr>", client.get(path).text, re.DOTALL)
        return [unescape(re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", row))).strip() for row in found]

    def subscribe(self, database, number=1, **more):
        with database.transaction() as connection:
            for each in range(number):
                subscriptions.add(
                    connection,
                    NoChecks(),
                    protocol="tapis",
                    name=f"one-{each}",
                    patterns=["a.*"],
                    sender="http",
                    target={"url": "https://u:hush@example.com/x?token=hush", "headers": {"Authorization": "hush"}},
                    **more,
                )

    def test_are_functions_and_subscriptions(self, database, client):
        self.subscribe(database)

        page, look, subscription = self.rows(client)

        assert page.startswith("oncall.page@/events/page function experiment.execution.failed active 0 0 Pause")
        assert look.startswith("oncall.look@/events/look immediate function * active 0 0 -")
        assert subscription.startswith("subscription:1 tapis one-0 https://example.com webhook a.*")
        assert "hush" not in client.get("/receivers").text

    def test_are_targets_of_extensions(self, database, extension):
        target = {"url": "https://receiver.test/x?token=hush", "secret": "hush"}
        extension.add_target("a.*", name="hook", target=target, make_message=lambda event: None)
        extension.add_target("b.*", name="unset", target=lambda: {}["url"], make_message=lambda event: None)
        with log_client(database, extension) as client:
            _, _, hook, unset = self.rows(client)
            assert "hush" not in client.get("/receivers").text
        assert hook.startswith("oncall.hook@/events/hook https://receiver.test webhook a.* active 0 0 Pause")
        assert unset.startswith("oncall.unset@/events/unset webhook b.* active")

    def test_tell_their_state(self, database, client):
        self.subscribe(database, expires_at=NOW - timedelta(days=1))
        until = NOW + timedelta(days=1)
        circuits = (OpenCircuit("oncall.page@/events/page", until),)
        with database.transaction() as connection:
            report(connection, WorkerRow("w", "h", 1, NOW, NOW, 16, 0, circuits))
        page, _, subscription = self.rows(client)
        assert "circuit open until" in page
        assert "disabled" in subscription
        with database.transaction() as connection:
            pause(connection, "oncall.page@/events/page", "somebody")
            pause(connection, "gone.page@/events/page", "somebody")
        page, _, _, gone = self.rows(client)
        assert "paused since" in page
        assert "by somebody" in page
        assert "Resume" in page
        assert gone.startswith("gone.page@/events/page unknown")

    def test_have_numbers(self, database, client):
        Outbox(database).record([entry(str(n), "oncall.page@/events/page") for n in range(1003)])
        change(database, [1, 2], status=DEAD, stage=None, ended_at=NOW)

        page, _ = self.rows(client)

        assert "1,000+ 2 Pause" in page

    def test_are_paged(self, database, client):
        self.subscribe(database, 101)

        first = client.get("/receivers")
        following = self.rows(client, link(first, "next"))

        assert len(self.rows(client)) == 2 + 100
        assert [row.split()[0] for row in following] == ["subscription:101"]

    def test_cannot_be_paused_by_those_who_only_read(self, database, extension):
        with log_client(database, extension, event_log_read_only=True) as client:
            assert "Pause oncall" not in client.get("/receivers").text
            assert "Read only" in client.get("/receivers").text


class NoChecks:
    def check(self, sender, target):
        return {}


def test_the_overview_tells_of_workers_waiting_deliveries_and_dead_letters(database, client):
    Outbox(database).record([entry(str(n), "oncall.page@/a") for n in range(5)])
    change(database, [1, 2], status=DEAD, stage=None, ended_at=NOW, error="no answer\nin line 2")
    change(database, [3], status=DELIVERED, stage=None, ended_at=NOW)
    with database.transaction() as connection:
        report(connection, WorkerRow("w", "here", 1, NOW, datetime.now(UTC), 16, 3))
        report(connection, WorkerRow("v", "there", 2, NOW, NOW - timedelta(minutes=5), 16, 0))

    text = re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", client.get("/?range=7d").text))

    assert "2 waiting deliveries , the oldest since" in text
    assert "2 dead letters" in text
    assert "2 workers" in text
    assert "no answer 2" in text
    assert "there , process 2 silent" in text
    assert "here , process 1 2" in text


def test_the_overview_says_that_nobody_makes_deliveries(client):
    assert "No worker has shown a sign of life" in client.get("/").text
