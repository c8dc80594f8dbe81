"""E-mails about contracts that failed: when they are sent, to whom, and what becomes of those that cannot be sent."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

from extensions.eventhos.error_mails import PERIOD, ErrorMails
from extensions.eventhos.settings import EventhosSettings
from extensions.eventhos.tables import error_mails
from tests.extensions.eventhos.mailing import RECIPIENTS, failing, html_of, mail_settings, make_world, run
from tests.extensions.eventhos.making import World, encryption
from tests.support.mailbox import mailbox, smtp
from tests.support.receivers import reply, server, silence
from tests.support.servers import free_port

__all__ = ["failing", "mailbox", "make_world", "run", "server", "smtp"]  # fixtures

NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def world(make_world):
    """A producer with an event, at a service with a mail server and a recipient."""
    return make_world()


def recipients(mailbox):
    """Return the recipients of the only mail."""
    envelope = mailbox.envelopes.get(timeout=20)
    assert mailbox.envelopes.empty()
    return envelope.rcpt_tos


class TestWhen:
    def test_one_in_ten_minutes_tells_how_many_were_left_out(self, world, failing, run, mailbox):
        world.add_contract(failing.url("/", "127.0.0.1"))
        run(world, {"n": 1}, {"n": 2}, {"n": 3})
        assert '"n": 1' in html_of(mailbox.mail())
        assert mailbox.envelopes.empty()
        with world.api.database.transaction() as connection:
            sent_at = connection.execute(select(error_mails.c.sent_at)).scalar_one()
            connection.execute(update(error_mails).values(sent_at=sent_at - PERIOD))
        run(world, {"n": 4}, {"n": 5})
        html = html_of(mailbox.mail())
        assert '"n": 4' in html
        assert "left out since the last e-mail</th><td>2</td>" in html
        assert mailbox.envelopes.empty()

    def test_each_contract_has_its_own(self, world, failing, run, mailbox):
        urls = {failing.url(path, "127.0.0.1") for path in ("/a", "/b")}
        for url in urls:
            world.add_contract(url)
        run(world, {})
        mails = [html_of(mailbox.mail()) for _ in urls]
        assert {url for html in mails for url in urls if url in html} == urls
        assert mailbox.envelopes.empty()

    def test_those_that_are_stopped_have_none(self, world, failing, run, mailbox):
        world.add_contract(failing.url("/first", "127.0.0.1"), order=0, stop_on_error=True)
        world.add_contract(failing.url("/second", "127.0.0.1"), order=1)
        (row,) = run(world, {})
        assert row["state"] == ["error", "error"]
        assert "/first" in html_of(mailbox.mail())
        assert mailbox.envelopes.empty()

    def test_an_attempt_that_is_repeated_has_none(self, world, failing, run, mailbox):
        world.add_contract(failing.url("/", "127.0.0.1"), retry=[0, 0])
        run(world, {})
        assert len(failing.requests) == 3
        assert "left out since the last e-mail</th><td>0</td>" in html_of(mailbox.mail())
        assert mailbox.envelopes.empty()

    def test_success_has_none(self, world, failing, run, mailbox):
        failing.said = reply(200)
        world.add_contract(failing.url("/", "127.0.0.1"))
        run(world, {})
        assert mailbox.envelopes.empty()

    def test_errors_at_the_same_time_send_one(self, world, receiver, run, mailbox):
        several = threading.Barrier(3)

        def answer(request):
            several.wait(20)
            return reply(500)

        world.add_contract(receiver(answer=answer).url("/", "127.0.0.1"))
        for number in range(3):
            world.send({"n": number})
        run(world)
        assert "left out since the last e-mail</th><td>0</td>" in html_of(mailbox.mail())
        assert mailbox.envelopes.empty()
        with world.api.database.read() as connection:
            assert connection.execute(select(error_mails.c.left_out)).scalar_one() == 2


class TestDue:
    @pytest.fixture
    def due(self, world):
        """Count an error of a contract at a time, in a transaction of its own."""
        contract = world.add_contract("http://localhost/")
        settings = EventhosSettings(mail_recipients="team@example.com")
        mails = ErrorMails(world.api.kit, settings, encryption(world.api))

        def due(now):
            with world.api.kit.transaction() as transaction:
                return mails.due(transaction.connection, contract, now)

        return due

    def test_the_time_counts_from_the_last_mail(self, due):
        almost = PERIOD - timedelta(seconds=1)
        assert [due(NOW), due(NOW + almost), due(NOW + PERIOD), due(NOW + PERIOD + almost)] == [0, None, 1, None]
        assert [due(NOW + 2 * PERIOD), due(NOW + 4 * PERIOD)] == [1, 0]

    def test_a_clock_that_is_set_back_does_not_silence_it(self, due):
        assert [due(NOW), due(NOW - PERIOD / 2), due(NOW - 100 * PERIOD)] == [0, None, 1]

    def test_of_several_at_once_one_is_due(self, due):
        for now, expected in ((NOW, 0), (NOW + PERIOD, 7)):
            together = threading.Barrier(8)

            def count(_, now=now, together=together):
                together.wait(20)
                return due(now)

            with ThreadPoolExecutor(8) as pool:
                found = list(pool.map(count, range(8)))
            assert sorted(found, key=lambda each: each is None) == [expected] + [None] * 7


class TestRecipients:
    @pytest.mark.parametrize(
        ("own", "settings", "expected"),
        [
            ("a@example.com, b@my-example.com ,", "team@example.com", ["a@example.com", "b@my-example.com"]),
            ("", "team@example.com,,boss@example.com", ["team@example.com", "boss@example.com"]),
            (" , ", "team@example.com", ["team@example.com"]),
            ("a@example.com", "", ["a@example.com"]),
        ],
    )
    def test_those_of_the_contract_or_else_of_the_settings(
        self, make_world, failing, run, mailbox, own, settings, expected
    ):
        world = make_world(EXTENSION_EVENTHOS_MAIL_RECIPIENTS=settings)
        world.add_contract(failing.url("/", "127.0.0.1"), mail_recipients=own)
        run(world, {})
        assert recipients(mailbox) == expected

    def test_one_that_is_no_address_does_not_keep_it_from_others(self, world, failing, run, mailbox, caplog):
        named = "no address, a@example.com\r\nBcc: b@example.com, c@example.com"
        world.add_contract(failing.url("/", "127.0.0.1"), mail_recipients=named)
        run(world, {})
        assert recipients(mailbox) == ["c@example.com"]
        assert "Not all mail recipients" in caplog.text
        assert "no address" not in caplog.text

    def test_only_those_that_are_no_addresses(self, world, failing, run, mailbox):
        world.add_contract(failing.url("/", "127.0.0.1"), mail_recipients="nobody")
        (row,) = run(world, {})
        assert row["state"] == ["error"]
        assert mailbox.envelopes.empty()

    def test_without_any_nothing_is_sent_or_counted(self, make_world, failing, run, mailbox):
        world = make_world(EXTENSION_EVENTHOS_MAIL_RECIPIENTS="")
        world.add_contract(failing.url("/", "127.0.0.1"))
        (row,) = run(world, {})
        assert row["state"] == ["error"]
        assert mailbox.envelopes.empty()
        with world.api.database.read() as connection:
            assert connection.execute(select(error_mails)).all() == []


class TestMailServers:
    """Whatever they do, the execution ends as without them, and those behind it run."""

    @pytest.fixture
    def fail(self, make_api, failing, run, caplog):
        """Have a contract fail with settings, and return what is logged."""

        def fail(**variables):
            world = World(make_api(**{**RECIPIENTS, **variables}))
            world.add_contract(failing.url("/first", "127.0.0.1"), order=0)
            world.add_contract(failing.url("/second", "127.0.0.1"), order=1)
            (row,) = run(world, {})
            assert row["state"] == ["error", "error"]
            assert [request.path for request in failing.requests] == ["/first", "/second"]
            detail = world.execution(world.executions(row["id"])[0]["detailId"])
            assert (detail["response"]["status"], detail["calls"]) == (500, 1)
            assert "team@example.com" not in caplog.text
            return caplog.text

        return fail

    def test_without_one_nothing_is_sent(self, fail):
        assert "mail" not in fail()

    def test_one_that_is_not_there(self, fail):
        assert "127.0.0.1: Connection refused" in fail(**mail_settings(free_port()))

    @pytest.mark.parametrize("said", ["451 Not now, team@example.com", "554 Not this"])
    @pytest.mark.parametrize("at", ["recipient", "message"])
    def test_one_that_refuses(self, fail, smtp, mailbox, at, said):
        if at == "message":
            mailbox.data = said
        else:
            mailbox.replies["team@example.com"] = [said, said]
        assert f"the mail server answered {said[:3]}" in fail(**mail_settings(smtp()))
        assert mailbox.envelopes.empty()

    def test_one_that_hangs(self, fail, server):
        settings = mail_settings(server(silence).port)
        assert "timed out" in fail(EXTENSION_DELIVERY_TIMEOUT="0.3", **settings)

    def test_one_that_refuses_a_recipient(self, make_world, failing, run, mailbox, caplog):
        world = make_world(EXTENSION_EVENTHOS_MAIL_RECIPIENTS="a@example.com,b@example.com")
        world.add_contract(failing.url("/", "127.0.0.1"))
        mailbox.replies["a@example.com"] = ["550 Unknown"]
        run(world, {})
        assert recipients(mailbox) == ["b@example.com"]
        assert "some recipients were refused" in caplog.text
        assert "a@example.com" not in caplog.text
