"""Whatever happens to a copy of an inbox, its file does not stay open."""

from contextlib import closing

import pytest
from sqlalchemy import select

from extension_kit.deliveries.inbox import Accepted, Inbox
from extension_kit.deliveries.inbox_copy import file_in, unfiled_events
from extension_kit.deliveries.tables import events
from tests.support.open_files import open_files


class Failed(Exception):
    pass


def inbox_of(database):
    """The path of the inbox's file: other tests may leave one of the same name open."""
    return f"{database.path}-inbox"


@pytest.fixture
def source(sqlite):
    """A database with an event in its inbox, which is closed."""
    with closing(Inbox(sqlite)) as inbox:
        inbox.prepare()
        inbox.append([Accepted(b'{"id": "1", "eventName": "a.b"}', ("oncall",))])
    assert open_files(inbox_of(sqlite)) == []
    return sqlite


def test_reading_that_is_given_up_closes_the_file(source):
    def read():
        with unfiled_events(source):
            assert open_files(inbox_of(source))
            raise Failed

    with pytest.raises(Failed):
        read()
    assert open_files(inbox_of(source)) == []


def test_filing_that_fails_closes_the_file(source):
    def groups():
        assert open_files(inbox_of(source))
        raise Failed
        yield

    with pytest.raises(Failed):
        file_in(source, groups())
    assert open_files(inbox_of(source)) == []


def test_trace_contexts_are_copied(sqlite):
    with closing(Inbox(sqlite, keeps_traces=True)) as inbox:
        inbox.prepare()
        inbox.append([Accepted(b'{"id": "1", "eventName": "a.b"}', ("oncall",), None, "00-1-2-01 a=b")])
        with unfiled_events(sqlite) as groups:
            copied = list(groups)
        file_in(sqlite, copied)
    with sqlite.read() as connection:
        assert connection.execute(select(events.c.trace_context)).scalars().all() == ["00-1-2-01 a=b"]


def test_all_that_was_not_filed_is_filed_and_the_file_removed(source):
    with unfiled_events(source) as groups:
        events = list(groups)
    assert file_in(source, events) == 2  # what its own inbox had, too
    assert not Inbox(source).exists
    assert open_files(inbox_of(source)) == []
