"""People watch events come in, find what failed, and mend it: with a browser, with and without JavaScript."""

import itertools
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from extension_kit.deliveries import action_rows
from tests.support.browsing import serve_with_event_log
from tests.support.databases import opened
from tests.support.waiting import wait_until

FAILED = "experiment.execution.failed"
ANNOUNCE = "extension-announce.announce@/events/announce"
NUMBERS = itertools.count(1)


@pytest.fixture
def post(served, event):
    """Send an event as an agent would; returns its id."""

    def post(name=FAILED, path="/events/report", **changes):
        body = {**event(name), "id": str(uuid4()), **changes}  # tests share the server
        assert served.post(path, body).status == 200
        return body["id"]

    return post


@pytest.fixture
def dead_letter(post, served, reports):
    """The id of an event with a dead letter, of the function that writes reports."""
    if reports.exists():
        for file in reports.iterdir():
            file.unlink()
        reports.rmdir()
    return post()


def row_of(page, text):
    """The row of a table with a text, once it is there."""
    row = page.get_by_role("row").filter(has_text=text).first
    row.wait_for()
    return row


def wait_for_status(page, url, status, number=1):
    """Load a page again and again until it shows a status, as many times as wanted."""

    def is_shown():
        page.goto(url)
        return page.locator(f"main .status.{status}").count() >= number

    wait_until(is_shown)


def confirm(page, action, number):
    """Confirm an action that is said to change so many deliveries."""
    page.get_by_role("heading", name=action).wait_for()
    assert number in page.locator("main").inner_text()
    page.get_by_role("main").get_by_role("button", name=action).click()


class TestLogin:
    @pytest.mark.parametrize("javascript", [True, False])
    def test_asks_for_the_password_and_goes_to_the_page_that_was_asked_for(self, served, open_page, log_in, javascript):
        with open_page(f"{served.event_log}/events?event=a", javascript=javascript) as page:
            assert page.get_by_role("link", name="Deliveries").count() == 0
            log_in(page)
            page.wait_for_url(f"{served.event_log}/events?event=a")
            page.get_by_role("button", name="Log out").click()
            page.get_by_label("Password").wait_for()
            page.goto(f"{served.event_log}/events")
            page.get_by_label("Password").wait_for()

    def test_refuses_another_password(self, served, open_page, log_in):
        with open_page(served.event_log, may_complain=True) as page:
            log_in(page, "wrong")
            page.get_by_role("alert").wait_for()
            assert "wrong" in page.get_by_role("alert").inner_text().lower()


class TestEvents:
    def test_arrive_while_the_page_is_open(self, served, open_page, log_in, post):
        with open_page(f"{served.event_log}/events") as page:
            log_in(page)
            page.get_by_role("heading", name="Events").wait_for()
            name = f"experiment.execution.arrives-{next(NUMBERS)}"
            post("experiment.execution.created", "/events/announce", eventName=name)
            row_of(page, name)

    @pytest.mark.parametrize("path", ["/events?source=steadybit", "/deliveries?status=delivered", "/deliveries/{}"])
    def test_are_not_sent_again_while_nothing_changes(self, served, open_page, log_in, post, path):
        id = post(path="/events/announce")
        with open_page(f"{served.event_log}/deliveries?event_id={id}") as page:
            log_in(page)
            path = path.format(row_of(page, "delivered").get_by_role("link").first.inner_text())
            page.goto(f"{served.event_log}{path}")
            asked = set()
            page.on("request", lambda request: "/static/" in request.url or asked.add(request.url))
            with page.expect_response(lambda answer: answer.status == 304 and "/static/" not in answer.url):
                pass
            assert asked == {f"{served.event_log}{path}"}

    def test_are_filtered_by_the_address(self, served, open_page, log_in, post):
        post("experiment.execution.created", "/events/announce")
        other = post("experiment.execution.canceled", "/events/announce")
        wait_until(lambda: "canceled" in served.log)
        with open_page(f"{served.event_log}/events", javascript=False) as page:
            log_in(page)
            page.get_by_label("Name or pattern").fill("experiment.*.canceled")
            page.get_by_role("button", name="Filter").click()
            page.wait_for_url("**/events?event=experiment.*.canceled")
            rows = page.locator("tbody tr")
            assert rows.count() >= 1
            assert all("canceled" in text for text in rows.all_inner_texts())
            page.get_by_label("Id").fill(other)
            page.get_by_role("button", name="Filter").click()
            assert page.locator("tbody tr").count() == 1

    def test_show_what_became_of_them(self, served, open_page, log_in, dead_letter):
        with open_page(f"{served.event_log}/events?event_id={dead_letter}") as page:
            log_in(page)
            wait_for_status(page, f"{served.event_log}/events?event_id={dead_letter}", "dead")
            page.locator("tbody th a").click()
            page.get_by_role("heading", name=FAILED).wait_for()
            assert page.get_by_text("there is no directory").count() == 1
            assert dead_letter in page.locator("pre").inner_text()


@pytest.mark.parametrize("javascript", [True, False], ids=["javascript", "plain"])
class TestDeliveries:
    def test_are_replayed(self, served, open_page, log_in, dead_letter, reports, javascript):
        address = f"{served.event_log}/deliveries?event_id={dead_letter}&status=dead"
        with open_page(address, javascript=javascript) as page:
            log_in(page)
            wait_for_status(page, address, "dead")
            page.locator("tbody th a").click()
            page.get_by_text("there is no directory").first.wait_for()
            delivery = page.url
            reports.mkdir()
            page.get_by_role("button", name="Replay").click()
            confirm(page, "Replay", "1 dead letter")
            wait_for_status(page, delivery, "delivered")
            assert page.locator("tbody tr").count() == 2  # attempts

    def test_are_discarded(self, served, open_page, log_in, dead_letter, javascript):
        address = f"{served.event_log}/deliveries?event_id={dead_letter}"
        with open_page(address, javascript=javascript) as page:
            log_in(page)
            wait_for_status(page, address, "dead")
            page.locator("tbody input[name=ref]").check()
            page.get_by_role("button", name="Discard selected").click()
            confirm(page, "Discard", "1 delivery")
            wait_for_status(page, address, "discarded")

    def test_that_match_are_all_replayed(self, served, open_page, log_in, dead_letter, post, reports, javascript):
        key = f"MANY{next(NUMBERS)}"
        run = {"name": "a", "hypothesis": "b", "state": "failed", "experimentKey": key, "executionId": 1}
        for _ in range(12):
            post(experimentExecution=run)
        address = f"{served.event_log}/deliveries?subject={key}/1"
        with open_page(address, javascript=javascript) as page:
            log_in(page)
            wait_for_status(page, address, "dead", 12)
            reports.mkdir()
            page.get_by_role("button", name="Replay all that match").click()
            assert key in page.locator("main").inner_text()
            confirm(page, "Replay", "12 dead letters")
            wait_for_status(page, address, "delivered", 12)
            page.goto(f"{served.event_log}/actions")
            assert "replay" in row_of(page, key).inner_text()

    def test_are_left_alone_once_their_action_is_cancelled(self, served, open_page, log_in, javascript):
        with opened(served.database) as database, database.transaction() as connection:  # that of a process of its own
            ref = action_rows.begin(connection, action_rows.REPLAY, "somebody", "", 1000, datetime.now(UTC))
        with open_page(f"{served.event_log}/actions/{ref}", javascript=javascript) as page:
            log_in(page)
            page.get_by_role("heading", name="Replay: running").wait_for()
            page.get_by_role("main").get_by_role("button", name="Cancel").click()
            page.get_by_text("Cancelled by password").wait_for()
            assert page.get_by_role("main").get_by_role("button", name="Cancel").count() == 0

    def test_wait_while_their_receiver_is_paused(self, served, open_page, log_in, dead_letter, post, javascript):
        receivers = f"{served.event_log}/receivers"
        with open_page(receivers, javascript=javascript) as page:
            log_in(page)
            row_of(page, ANNOUNCE).get_by_role("button", name="Pause").click()
            page.goto(receivers)
            assert "paused" in row_of(page, ANNOUNCE).inner_text()
            while not (waiting := self.waits(served, page, post)):
                pass  # the worker had not noticed the pause yet
            page.goto(receivers)
            row_of(page, ANNOUNCE).get_by_role("button", name="Resume").click()
            wait_for_status(page, waiting, "delivered")

    def waits(self, served, page, post):
        """The address of a delivery of a new event, if it waits while the next one is made."""
        first = post("experiment.execution.created", "/events/announce")
        other = post()
        address = f"{served.event_log}/deliveries?event_id={first}"
        wait_for_status(page, f"{served.event_log}/deliveries?event_id={other}", "dead")
        page.goto(address)
        return address if page.locator("tbody .status.waiting").count() else None


def test_those_who_only_read_have_no_actions(tmp_path, open_page, log_in, event):
    with serve_with_event_log(tmp_path / "log", tmp_path / "reports", EXTENSION_EVENT_LOG_READ_ONLY="true") as server:
        assert server.post("/events/report", event(FAILED)).status == 200
        with open_page(f"{server.event_log}/deliveries?status=dead", may_complain=True) as page:
            log_in(page)
            wait_for_status(page, page.url, "dead")
            assert page.locator("main button").all_inner_texts() == ["Filter"]
            page.locator("tbody th a").click()
            page.get_by_role("heading", name="Attempts").wait_for()
            assert page.locator("main button").count() == 0
            delivery = page.url
            page.evaluate(
                """token => {
                    const form = document.body.appendChild(document.createElement("form"));
                    form.method = "post";
                    form.action = "/deliveries/discard";
                    for (const [name, value] of [["csrf", token], ["ref", "1"]]) {
                        const field = form.appendChild(document.createElement("input"));
                        field.name = name;
                        field.value = value;
                    }
                    const button = form.appendChild(document.createElement("button"));
                    button.textContent = "Discard it";
                }""",
                page.locator("input[name=csrf]").first.get_attribute("value"),
            )
            with page.expect_navigation() as navigation:
                page.get_by_role("button", name="Discard it").click()
            assert navigation.value.status == 403
            page.goto(delivery)
            assert page.locator("h1 .status.dead").count() == 1
