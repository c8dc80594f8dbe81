"""Contents of e-mails about contracts that failed: what was sent and answered, masked, escaped and bounded."""

import json
from datetime import datetime

import pytest
from sqlalchemy import update

from extensions.eventhos.error_mails import MOST_BYTES
from extensions.eventhos.tables import actions, contracts, events, received
from tests.extensions.eventhos.mailing import failing, html_of, make_world, run
from tests.support.mailbox import mailbox, smtp
from tests.support.receivers import reply

__all__ = ["failing", "mailbox", "make_world", "run", "smtp"]  # fixtures


def change(world, table, **values):
    """Change all rows of a table."""
    with world.api.database.transaction() as connection:
        connection.execute(update(table).values(values))


def test_it_tells_what_was_sent_and_what_was_answered(make_world, failing, run, mailbox):
    world = make_world(EXTENSION_EVENTHOS_ALIAS="QA")
    world.add_contract(failing.url("/orders", "127.0.0.1"))
    change(world, contracts, name="Order to ERP", identifier="to-erp")
    change(world, actions, name="Create the order", identifier="create")
    change(world, events, description="An order was made")
    (row,) = run(world, {"customer": "Mörph"}, headers={"X-Trace": "t-1"}, part="7")
    mail = mailbox.mail()
    assert mail["Subject"].startswith("Eventhos [QA] error notification ")
    assert datetime.fromisoformat(mail["Subject"].split()[-1]).tzinfo is not None
    assert (mail["From"], mail["To"]) == ("eventhos <eventhos@example.com>", "team@example.com")
    html = html_of(mail)
    for part in (
        "Order to ERP (to-erp)",
        f"{world.identifier} - An order was made",
        "Create the order (create)",
        f"Event log number</th><td>{row['id']}</td>",
        f"/event/send?event-identifier={world.identifier}&amp;part=7",
        '"customer": "Mörph"',
        '"x-trace": "t-1"',
        failing.url("/orders", "127.0.0.1"),
        "500 Internal Server Error",
        '"why": "no"',
        '"X-Why": "no"',
        "Errors left out since the last e-mail</th><td>0</td>",
    ):
        assert part in html
    assert html.count(f"{row['systemName']} ({row['systemIdentifier']})") == 2  # producer and consumer
    assert world.key not in html


def test_without_an_alias_there_are_no_brackets(make_world, failing, run, mailbox):
    world = make_world()
    world.add_contract(failing.url("/", "127.0.0.1"))
    run(world, {})
    assert mailbox.mail()["Subject"].startswith("Eventhos error notification 2")


def test_a_system_that_does_not_answer(make_world, run, mailbox):
    world = make_world()
    world.add_contract("http://127.0.0.1:1/")
    run(world, {})
    assert "ECONNREFUSED" in html_of(mailbox.mail())


def test_an_event_that_cannot_be_decrypted(make_world, failing, run, mailbox):
    world = make_world()
    world.add_contract(failing.url("/", "127.0.0.1"))
    world.send({})
    change(world, received, request=b"x")
    change(world, contracts, deleted=True)  # else it waits for the key
    run(world)
    assert "EXTENSION_EVENTHOS_CRYPTO_KEY" in html_of(mailbox.mail())
    assert failing.requests == []


def test_texts_are_no_html(make_world, failing, run, mailbox):
    world = make_world()
    failing.said = reply(500, b"</pre><script>alert(1)</script>&amp;", X_Why="<b>no</b>")
    world.add_contract(failing.url("/", "127.0.0.1"))
    change(world, contracts, name="<i>contract</i>")
    change(world, events, description="<u>event</u>")
    run(world, {"<a>": "<img src=x onerror=alert(2)>"}, headers={"X-Html": "<em>"})
    html = html_of(mailbox.mail())
    for tag in ("<script", "<b>", "<i>", "<u>", "<a>", "<img", "<em>"):
        assert tag not in html
        assert tag.replace("<", "&lt;").replace(">", "&gt;") in html
    assert "&lt;/pre&gt;&lt;script&gt;alert(1)&lt;/script&gt;&amp;amp;" in html


def test_secret_keys_are_masked(make_world, failing, run, mailbox):
    world = make_world(EXTENSION_EVENTHOS_MASKED="password, X-Api-Key")
    failing.said = reply(500, b'{"a": [{"PassWord": "hidden-1"}]}', X_API_Key="hidden-2")
    template = {"headers": {"x-api-key": "hidden-3"}, "params": {"password": "hidden-4"}}
    world.add_contract(failing.url("/", "127.0.0.1"), template=template)
    body = {"password": "hidden-5", "next": "/?password=hidden-6"}
    run(world, body, headers={"X-Api-Key": "hidden-7"}, password="hidden-8")
    html = html_of(mailbox.mail())
    assert "hidden" not in html
    # The keys of the event's URL, body and headers, of the called URL, and of the answer; not the sent headers.
    assert html.count("****") == 7


@pytest.mark.parametrize("body", ["x" * 100_000, "&" * 100_000, "ä<" * 50_000, {"a": ["<"] * 50_000}])
def test_it_is_bounded(make_world, failing, run, mailbox, body):
    world = make_world()
    failing.said = reply(500, json.dumps(body).encode(), **{f"X_{n}": "&" * 4000 for n in range(10)})
    world.add_contract(failing.url("/?a=" + "&" * 5000, "127.0.0.1"))
    change(world, events, description="<&>" * 5000)
    run(world, body, part="&" * 2000)
    html = html_of(mailbox.mail())
    assert MOST_BYTES / 2 < len(html.encode()) < MOST_BYTES
    assert html.count(" … (shortened)") >= 5
    assert html.rstrip().endswith("</table></body></html>")
    assert html.count("&") == sum(html.count(entity) for entity in ("&amp;", "&lt;", "&gt;"))
