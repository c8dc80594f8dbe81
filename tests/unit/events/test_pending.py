"""An event that is being handled: its answer, its repetitions, and the functions that run for it."""

import gc
import json
import threading

import pytest

from extension_kit import Extension, GiveUp, RetryLater
from extension_kit.events.answers import ACCEPTED, BUSY, KNOWN, TIMEOUT
from extension_kit.events.duplicates import RecentEvents
from extension_kit.events.pending import Pending
from extension_kit.events.receive import Receiver


@pytest.fixture
def recent():
    return RecentEvents(60, 10)


@pytest.fixture
def pending(recent):
    return recent.claim("/events", "1", Pending("/events", "1", recent))[0]


def is_remembered(recent):
    return not recent.claim("/events", "1", object())[1]


def test_those_that_wait_are_told_the_answer_at_its_end_and_later_ones_at_once(pending):
    told = []
    pending.when_ended(told.append)
    assert told == []
    pending.end(ACCEPTED)
    pending.when_ended(told.append)
    assert told == [ACCEPTED, ACCEPTED]


def test_a_thread_waits_for_the_answer(pending):
    threading.Timer(0.01, pending.end, [BUSY]).start()
    assert pending.wait(10) is BUSY
    assert pending.wait(0) is BUSY


def test_a_thread_waits_no_longer_than_it_may(pending):
    assert pending.wait(0) is TIMEOUT


def test_an_accepted_event_is_remembered_and_its_duplicates_are_known(pending, recent):
    assert pending.again() is pending
    pending.end(ACCEPTED)
    assert pending.again() is KNOWN
    assert is_remembered(recent)


def test_an_event_that_failed_may_be_sent_again(pending, recent):
    pending.end(BUSY)
    assert pending.again() is pending
    assert not is_remembered(recent)


async def waits(event):
    pass


@pytest.mark.parametrize(
    ("error", "detail", "traceback"),
    [
        (GiveUp("nobody is on call"), "nobody is on call", False),
        (RetryLater(60), "the function asked to be run again in 60 s", False),
        (ValueError("no such host"), "no such host", True),
        (None, "page returned an awaitable (coroutine), which is never awaited", True),
    ],
)
def test_a_failure_of_an_immediate_listener_is_answered_and_logged(event, caplog, error, detail, traceback):
    def page(event):
        if error is not None:
            raise error
        return waits(event)

    extension = Extension("extension-test")
    extension.listen_to("*", immediate=True)(page)
    receiver = Receiver(extension.registry, "tolerant", 60, 10)
    body = json.dumps(event("killswitch.engaged")).encode()
    answer = receiver.receive(receiver.routes["/events/page"], body, "", None, lambda run: run() is None).wait(1)
    assert answer.status == 500
    assert json.loads(answer.body)["detail"].startswith(detail)
    (record,) = caplog.records
    assert bool(record.exc_info) is traceback
    gc.collect()  # a coroutine that was left open is a warning now, and so an error
