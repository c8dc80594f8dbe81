"""People confirm actions on a page that tells the number and the filter, and which asks again if the number changes."""

import re
from datetime import UTC, datetime, timedelta
from html import unescape

import pytest

from extension_kit import Extension
from extension_kit.deliveries import action_rows
from extension_kit.deliveries.outbox import Outbox
from extension_kit.deliveries.pauses import paused
from extension_kit.deliveries.tables import DEAD, DELIVERED, DISCARDED, LATER, WAITING
from extension_kit.event_log.actions import MOST_ACTIONS
from tests.support.log_clients import log_client
from tests.support.recording import all_of, change, entry
from tests.support.waiting import wait_until


@pytest.fixture
def refs(database):
    """Deliveries: three dead letters, one that waits, one that was delivered."""
    Outbox(database).record([entry(str(n), "oncall.page@/page", name=f"job.{n}") for n in range(5)])
    refs = [row.ref for row in all_of(database)]
    now = datetime.now(UTC)
    change(database, refs[:3], status=DEAD, stage=None, error="no answer in 5 s", ended_at=now)
    change(database, refs[3:4], stage=LATER, due_at=now + timedelta(hours=1))
    change(database, refs[4:], status=DELIVERED, stage=None, ended_at=now)
    return refs


@pytest.fixture
def client(database, refs):
    with log_client(database) as client:
        yield client


def heading(response):
    return unescape(re.findall("<h1>(.*?)</h1>", response.text, re.DOTALL)[-1])


def fields(response):
    """The fields of the form by which a page asks."""
    form = re.search(r'<form class="actions".*?</form>', response.text, re.DOTALL)[0]
    found = {}
    for name, value in re.findall(r'<input type="hidden" name="(\w+)" value="(.*?)">', form):
        found.setdefault(name, []).append(unescape(value))
    return {name: values for name, values in found.items() if name != "csrf"}


def statuses(database):
    return [row.status for row in all_of(database)]


def row_of(database, location):
    with database.read() as connection:
        return action_rows.action_of(connection, int(location.removeprefix("/actions/")))


def newest(database):
    with database.read() as connection:
        return (*action_rows.recent(connection, None, 1), None)[0]


def is_over(database):
    return wait_until(lambda: (row := newest(database)) and row.ended_at and row)


def test_all_that_match_are_replayed_once_it_is_confirmed(database, client):
    query = "listener=oncall&error=ANSWER&before=d7&limit=50"
    asked = client.send_form("/deliveries/replay", which="all", filter=query)
    assert (asked.status_code, heading(asked)) == (200, "Replay 3 dead letters?")
    assert "the key of the listener begins with “oncall”" in asked.text
    assert "the error contains “ANSWER”" in asked.text
    assert "created before 20" in asked.text
    assert 'href="/deliveries?listener=oncall&amp;error=ANSWER&amp;before=d7&amp;limit=50"' in asked.text
    assert statuses(database)[:3] == [DEAD] * 3
    assert newest(database) is None

    confirmed = client.send_form("/deliveries/replay", **fields(asked))
    assert confirmed.status_code == 303
    assert confirmed.location.startswith("/actions/")
    is_over(database)
    row = row_of(database, confirmed.location)
    assert (row.kind, row.made_by, row.expected, row.changed) == ("replay", "anonymous", 3, 3)
    assert re.fullmatch(r"status=dead&listener=oncall&error=ANSWER&to=20\d\d-.*Z", row.filter)
    assert statuses(database) == [WAITING] * 4 + [DELIVERED]


@pytest.mark.parametrize(
    ("path", "query", "question", "after"),
    [
        ("replay", "", "Replay 3 dead letters?", [WAITING, WAITING, WAITING, WAITING, DELIVERED]),
        ("discard", "", "Discard 3 dead letters?", [DISCARDED, DISCARDED, DISCARDED, WAITING, DELIVERED]),
        ("discard", "status=waiting", "Discard 1 waiting delivery?", [DEAD, DEAD, DEAD, DISCARDED, DELIVERED]),
        ("discard", "event=job.1", "Discard 1 dead letter?", [DEAD, DISCARDED, DEAD, WAITING, DELIVERED]),
        ("retry-now", "event=job.*", "Try 1 waiting delivery now?", [DEAD, DEAD, DEAD, WAITING, DELIVERED]),
    ],
)
def test_each_action_says_its_number(database, client, path, query, question, after):
    asked = client.send_form(f"/deliveries/{path}", which="all", filter=query)
    assert heading(asked) == question
    client.send_form(f"/deliveries/{path}", **fields(asked))
    is_over(database)
    assert statuses(database) == after


def test_the_selected_ones_and_back_to_the_list_with_its_filter(database, client, refs):
    asked = client.send_form("/deliveries/discard", which="chosen", filter="error=no", ref=[refs[0], refs[3], refs[4]])
    assert heading(asked) == "Discard 2 deliveries?"
    assert "Of the 3 selected deliveries, those with another status are left alone: 1." in asked.text
    confirmed = client.send_form("/deliveries/discard", **fields(asked))
    assert (confirmed.status_code, confirmed.location) == (303, "/deliveries?error=no")
    assert is_over(database).changed == 2
    assert statuses(database) == [DISCARDED, DEAD, DEAD, DISCARDED, DELIVERED]


def test_one_and_back_to_its_page(database, client, refs):
    asked = client.send_form("/deliveries/replay", ref=refs[1])
    assert heading(asked) == "Replay 1 dead letter?"
    confirmed = client.send_form("/deliveries/replay", **fields(asked))
    assert confirmed.location == f"/deliveries/{refs[1]}"
    assert is_over(database).filter == f"ref={refs[1]}"
    assert statuses(database)[:3] == [DEAD, WAITING, DEAD]


def test_the_number_is_asked_again_if_it_changes(database, client, refs):
    asked = client.send_form("/deliveries/replay", which="all", filter="")
    change(database, refs[:1], status=DISCARDED)
    again = client.send_form("/deliveries/replay", **fields(asked))
    assert (again.status_code, heading(again)) == (409, "Replay 2 dead letters?")
    assert "Their number has changed meanwhile from 3 to 2" in again.text
    assert newest(database) is None
    confirmed = client.send_form("/deliveries/replay", **fields(again))
    assert confirmed.status_code == 303
    assert is_over(database).changed == 2


def test_those_that_come_meanwhile_are_not_asked_for_again(database, client, refs):
    asked = client.send_form("/deliveries/replay", which="all", filter="")
    Outbox(database).record([entry("new", "oncall.page@/page")])
    change(database, [max(row.ref for row in all_of(database))], status=DEAD, stage=None)
    assert client.send_form("/deliveries/replay", **fields(asked)).status_code == 303
    assert is_over(database).changed == 3
    assert statuses(database)[-1] == DEAD


def test_where_there_are_none_there_is_nothing_to_confirm(database, client, refs):
    asked = client.send_form("/deliveries/replay", which="all", filter="listener=nobody")
    assert (asked.status_code, heading(asked)) == (200, "There are no dead letters here")
    assert "confirmed" not in asked.text
    asked = client.send_form("/deliveries/replay", ref=refs[4])
    assert "Of the 1 selected deliveries, those with another status are left alone: 1." in asked.text
    none = client.send_form("/deliveries/replay", ref=refs[4], expected="0", confirmed="1")
    assert none.status_code == 409
    assert newest(database) is None


@pytest.mark.parametrize(
    ("form", "sentence"),
    [
        ({}, "No delivery is selected"),
        ({"which": "chosen", "filter": "status=dead"}, "No delivery is selected"),
        ({"ref": "x"}, "ref has the numbers of up to 1,000 deliveries"),
        ({"ref": [str(n) for n in range(1001)]}, "ref has the numbers of up to 1,000 deliveries"),
        ({"which": "all", "filter": "status=odd"}, "status is one of"),
        ({"which": "all", "filter": "status=waiting"}, "Only dead letters can be replayed"),
        ({"which": "all", "filter": "from=yesterday"}, "is neither a time"),
        ({"which": "all", "filter": "&".join("a=b" for _ in range(101))}, "A filter has at most 100 parameters"),
        ({"ref": "1", "confirmed": "1"}, "The number of deliveries that was confirmed is missing"),
        ({"ref": "1", "confirmed": "1", "expected": "-1"}, "The number of deliveries that was confirmed is missing"),
    ],
)
def test_bad_forms_are_refused_with_a_sentence(database, client, form, sentence):
    refused = client.send_form("/deliveries/replay", **form)
    assert refused.status_code == 400
    assert sentence in unescape(refused.text)
    assert newest(database) is None


def test_texts_from_outside_stay_texts(client):
    hostile = "</ul><script>alert(1)</script>\u202e\x07"
    page = client.send_form("/deliveries/replay", which="all", filter=f"error={hostile}&x=<b>").text
    assert "<script>alert" not in page
    assert "<b>" not in page
    assert "&lt;/ul&gt;&lt;script&gt;" in page
    assert "\u202e" not in page
    assert "\x07" not in page


def test_where_too_many_are_going_on_one_more_waits(client, refs):
    for _ in range(MOST_ACTIONS):
        client.actions._room.acquire()
    asked = client.send_form("/deliveries/replay", which="all", filter="")
    refused = client.send_form("/deliveries/replay", **fields(asked))
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
    assert "Too many actions have not ended yet" in refused.text
    for _ in range(MOST_ACTIONS):
        client.actions._room.release()
    assert client.send_form("/deliveries/replay", **fields(asked)).status_code == 303


PATHS = ["/deliveries/replay", "/deliveries/discard", "/deliveries/retry-now", "/receivers/pause", "/receivers/resume"]


@pytest.mark.parametrize("path", PATHS)
def test_who_may_only_look_changes_nothing(database, refs, path):
    with log_client(database, event_log_read_only=True) as client:
        refused = client.send_form(path, ref=refs[0], expected="1", confirmed="1", listener="oncall.page@/page")
    assert refused.status_code == 403
    assert "read-only" in refused.text
    assert newest(database) is None
    assert statuses(database)[0] == DEAD


@pytest.mark.parametrize("path", PATHS)
def test_another_sites_form_changes_nothing(database, client, refs, path):
    given = {"ref": refs[0], "expected": "1", "confirmed": "1", "listener": "oncall.page@/page"}
    assert client.send_form(path, **given, csrf="guessed").status_code == 403
    assert client.get(path).status_code == 405
    assert newest(database) is None


def test_a_receiver_is_paused_and_resumed(database, client):
    for action, is_paused in [("pause", True), ("pause", True), ("resume", False), ("resume", False)]:
        done = client.send_form(f"/receivers/{action}", listener="oncall.page@/page")
        assert (done.status_code, done.location) == (303, "/receivers")
        with database.read() as connection:
            pauses = paused(connection)
        assert [(key, pause.by) for key, pause in pauses.items()] == [("oncall.page@/page", "anonymous")] * is_paused
    with database.read() as connection:
        rows = [(row.kind, row.made_by, row.filter) for row in action_rows.recent(connection, None, 10)]
    assert rows == [(kind, "anonymous", "oncall.page@/page") for kind in ("resume", "pause")]


def test_a_receiver_that_has_had_no_event_yet_is_paused_where_its_extension_is_named(database):
    extension = Extension("fresh")

    @extension.listen_to("*")
    def page(event): ...

    @extension.listen_to("*", immediate=True)
    def now(event): ...

    with log_client(database, extension) as client:
        assert client.send_form("/receivers/pause", listener=extension.listeners[0].key).status_code == 303
        for key in (extension.listeners[1].key, "nobody@/nowhere", "", "<b>\x00"):
            refused = client.send_form("/receivers/pause", listener=key)
            assert refused.status_code == 409
            assert "There is no receiver" in refused.text
            assert client.send_form("/receivers/resume", listener=key).status_code == 409
    with database.read() as connection:
        assert list(paused(connection)) == [extension.listeners[0].key]


@pytest.mark.parametrize("path", ["/deliveries/{}", "/events/{}", "/events/{}/body", "/actions/{}"])
@pytest.mark.parametrize("ref", [2**63 - 1, 2**63, 10**30])
def test_a_page_of_a_number_that_nothing_has(client, path, ref):
    assert client.get(path.format(ref)).status_code == 404


class TestCancel:
    @pytest.fixture
    def going_on(self, database, refs):
        """An action that some process makes."""
        with database.transaction() as connection:
            return action_rows.begin(connection, action_rows.REPLAY, "ada", "", 5, datetime.now(UTC))

    def test_by_the_button_on_its_page(self, database, client, going_on):
        page = client.get(f"/actions/{going_on}")
        (action,) = re.findall(r'action="(/actions/\d+/cancel)"', page.text)
        answer = client.send_form(action)
        assert (answer.status_code, answer.location) == (303, f"/actions/{going_on}")
        page = client.get(f"/actions/{going_on}")
        assert heading(page) == "Replay: running"
        assert "Cancelled by anonymous" in page.text
        assert "/cancel" not in page.text
        with database.transaction() as connection:
            with pytest.raises(action_rows.ActionCancelled, match="Cancelled by anonymous"):
                action_rows.report(connection, going_on, 2, 0, datetime.now(UTC))
            action_rows.end(connection, going_on, 2, 0, datetime.now(UTC), "Cancelled by anonymous: so it is")
        assert heading(client.get(f"/actions/{going_on}")) == "Replay: cancelled"

    def test_of_one_that_has_ended(self, database, client, going_on):
        with database.transaction() as connection:
            action_rows.end(connection, going_on, 5, 0, datetime.now(UTC))
        assert "/cancel" not in client.get(f"/actions/{going_on}").text
        refused = client.send_form(f"/actions/{going_on}/cancel")
        assert (refused.status_code, "ended already" in refused.text) == (409, True)

    def test_by_a_script(self, database, client, going_on):
        answer = client.send_json(f"/api/actions/{going_on}/cancel", {})
        assert answer.status_code == 202
        assert answer.headers["Location"] == f"/api/actions/{going_on}"
        assert answer.json["error"] == "Cancelled by anonymous: deliveries that it had not reached are unchanged."
        with database.transaction() as connection:
            action_rows.end(connection, going_on, 2, 0, datetime.now(UTC), answer.json["error"])
        assert client.get(f"/api/actions/{going_on}").json["state"] == "cancelled"
        assert client.send_json(f"/api/actions/{going_on}/cancel", {}).status_code == 409
        assert client.send_json(f"/api/actions/{going_on + 1}/cancel", {}).status_code == 404

    def test_not_by_those_who_only_read(self, database, going_on):
        with log_client(database, event_log_read_only=True) as reader:
            assert "/cancel" not in reader.get(f"/actions/{going_on}").text
            assert reader.post(f"/api/actions/{going_on}/cancel").status_code == 403
