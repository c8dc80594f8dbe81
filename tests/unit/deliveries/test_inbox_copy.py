"""Whatever happens to a copy of an inbox, its file does not stay open."""

from contextlib import closing

import pytest

from extension_kit.deliveries.inbox import Accepted, Inbox
from extension_kit.deliveries.inbox_copy import file_in, unfiled_events
from tests.support.open_files import open_files

INBOX = "extension.db-inbox"


class Failed(Exception):
    pass


@pytest.fixture
def source(sqlite):
    """A database with an event in its inbox, which is closed."""
    with closing(Inbox(sqlite)) as inbox:
        inbox.prepare()
        inbox.append([Accepted(b'{"id": "1", "eventName": "a.b"}', ("oncall",))])
    assert open_files(INBOX) == []
    return sqlite


def test_reading_that_is_given_up_closes_the_file(source):
    def read():
        with unfiled_events(source):
            assert open_files(INBOX)
            raise Failed

    with pytest.raises(Failed):
        read()
    assert open_files(INBOX) == []


def test_filing_that_fails_closes_the_file(source):
    def groups():
        assert open_files(INBOX)
        raise Failed
        yield

    with pytest.raises(Failed):
        file_in(source, groups())
    assert open_files(INBOX) == []


def test_all_that_was_not_filed_is_filed_and_the_file_removed(source):
    with unfiled_events(source) as groups:
        events = list(groups)
    assert file_in(source, events) == 2  # what its own inbox had, too
    assert not Inbox(source).exists
    assert open_files(INBOX) == []
