"""Contracts that fail at a service with a mail server: for tests of e-mails about them."""

import pytest

from tests.extensions.eventhos.making import World
from tests.support.receivers import reply
from tests.support.waiting import wait_until

RECIPIENTS = {"EXTENSION_EVENTHOS_MAIL_RECIPIENTS": "team@example.com"}


def mail_settings(port):
    """Settings of a mail server on a port."""
    return {
        "EXTENSION_SMTP_HOST": "127.0.0.1",
        "EXTENSION_SMTP_PORT": str(port),
        "EXTENSION_SMTP_SECURITY": "none",
        "EXTENSION_SMTP_SENDER": "eventhos <eventhos@example.com>",
    }


@pytest.fixture
def failing(receiver):
    """A system that fails; ``answer`` is its answer."""
    there = receiver(answer=lambda request: there.said)
    there.said = reply(500, b'{"why": "no"}', X_Why="no")
    return there


@pytest.fixture
def make_world(make_api, smtp):
    """Make a producer with an event, at a service with a mail server and a recipient."""

    def make(**variables):
        return World(make_api(**{**mail_settings(smtp()), **RECIPIENTS, **variables}))

    return make


@pytest.fixture
def run(working):
    """Send bodies as events, one after the other, and return their rows of the log when all events have ended.

    The worker has ended, too, and with it the e-mails are sent.
    """

    def run(world, *bodies, headers=None, **query):
        before = len(world.log())
        with working(world.api):
            for number, body in enumerate(bodies, before + 1):
                world.send(body, headers=headers, **query)
                wait_until(lambda number=number: have_ended(world.log(), number))
            wait_until(lambda: have_ended(world.log(), before + len(bodies)))
        return world.log()[::-1][before:]

    return run


def have_ended(rows, number):
    """Return True if there are so many events, and all their executions have ended."""
    return len(rows) == number and all(state is not None for row in rows for state in row["state"])


def html_of(mail):
    assert mail.get_content_type() == "text/html"
    return mail.get_content()
