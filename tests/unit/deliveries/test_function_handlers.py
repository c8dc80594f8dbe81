"""What becomes of a delivery, by what the function does."""

import asyncio
import gc
import time
from datetime import UTC, datetime, timedelta, timezone

import orjson
import pytest

from extension_kit import Event, GiveUp, RetryLater
from extension_kit.agent.factory import EventFactory
from extension_kit.deliveries.function_handlers import function_handlers
from extension_kit.deliveries.handler import Due
from extension_kit.deliveries.retry import DEFAULT_DELAYS
from extension_kit.deliveries.tables import bounded
from extension_kit.events.published import PublishedEvent
from extension_kit.events.registry import Listener
from extension_kit.events.state import State
from extension_kit.senders import Outcome
from extension_kit.testing.state import InMemoryState

BODY = b'{"eventName": "experiment.execution.failed", "id": "7"}'

STEADYBIT = ("steadybit", None, None, None, None)  # source, time, subject, series, place


def listener(function, **options):
    given = {"extension": "oncall", "path": "/events/page", "restrict_to": "leader", "immediate": False, **options}
    return Listener.of(function, ("*",), **given)


def due(key, body=BODY):
    return Due(1, 1, 0, key, datetime.now(UTC), "experiment.execution.failed", "7", body, *STEADYBIT)


def make(function, body=BODY, *, find_step=lambda run, step: None, **options):
    """Make an attempt as a worker does: the handler is found by the key that is in the table."""
    one = listener(function, **options)
    key = bounded(one.key)
    return function_handlers([one], 30.0, find_step)(key, None).make(due(key, body))


def raising(error):
    def page(event):
        raise error

    return page


def test_a_function_gets_the_event_and_the_time_it_has():
    seen = []
    assert make(lambda event: seen.append(event), timeout=20.0) == Outcome("delivered")
    (event,) = seen
    assert (event.name, event.id, event.body) == ("experiment.execution.failed", "7", BODY)
    assert 10 < event.remaining_time <= 20


def test_a_function_that_wants_no_event_gets_none():
    called = []

    def ring():
        called.append(True)

    assert make(ring) == Outcome("delivered")
    assert called == [True]


def test_the_step_of_a_target_is_found():
    factory = EventFactory()
    step = factory.event("experiment.execution.step-started", custom_label="Stop the database")
    target = factory.event("experiment.execution.target-started", step_execution_id="s", execution_id=7)
    asked, labels = [], []

    def find_step(run, step_id):
        asked.append((run, step_id))
        return orjson.dumps(step)

    make(lambda event: labels.append(event.step.custom_label), orjson.dumps(target), find_step=find_step)
    assert labels == ["Stop the database"]
    assert asked == [(f"{target['tenant']['key']}/7", "s")]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (GiveUp("the account is closed"), Outcome("refused", "the account is closed")),
        (GiveUp(), Outcome("refused", "the function gave up, without a reason")),
        (RetryLater(90), Outcome("failed", "the function asked to be run again in 90 s", retry_in=90)),
        (RetryLater(0.5, "not yet"), Outcome("failed", "not yet", retry_in=0.5)),
        (ValueError("no such host"), Outcome("failed", "ValueError: no such host")),
        (SystemExit(3), Outcome("failed", "SystemExit: 3")),
        (KeyboardInterrupt(), Outcome("failed", "KeyboardInterrupt: ")),
    ],
)
def test_what_a_function_raises_decides(error, expected):
    assert make(raising(error)) == expected


def test_only_what_is_unexpected_is_logged_with_its_traceback(caplog):
    make(raising(GiveUp("no")))
    make(raising(RetryLater(1)))
    assert caplog.records == []
    make(raising(ValueError("no such host")))
    assert "page raised on experiment.execution.failed 7" in caplog.text
    assert "no such host" in caplog.text


@pytest.mark.parametrize(("number", "earlier", "tracebacks"), [(1, 0, 1), (2, 0, 0), (8, 0, 0), (3, 2, 1), (4, 2, 0)])
def test_there_is_one_traceback_for_all_attempts_of_a_schedule(caplog, number, earlier, tracebacks):
    one = listener(raising(ValueError("no such host")))
    given = due(one.key)._replace(number=number, uncounted_attempts=earlier)
    assert function_handlers([one], 30.0, None)(one.key, None).make(given).error == "ValueError: no such host"
    assert len(caplog.records) == tracebacks


async def waits(event):
    pass


def test_a_coroutine_that_nobody_awaits_is_no_delivery():
    outcome = make(lambda event: waits(event))
    assert outcome.result == "failed"
    assert outcome.error.startswith("TypeError: <lambda> returned an awaitable (coroutine), which is never awaited")
    gc.collect()  # a coroutine that was left open is a warning now, and so an error


def test_an_error_that_cannot_be_shown_is_one_too():
    class Odd(Exception):
        def __str__(self):
            raise ValueError

    assert make(raising(Odd())) == Outcome("failed", "Odd: ")


def test_a_body_that_cannot_be_read_fails():
    assert make(lambda event: None, b"{").result == "failed"


@pytest.mark.parametrize(("own", "expected"), [(None, 30.0), (2.5, 2.5)])
def test_a_function_may_take_as_long_as_it_says_or_as_the_setting(own, expected):
    one = listener(raising(ValueError()), timeout=own)
    assert function_handlers([one], 30.0, None)(one.key, None).timeout == expected


@pytest.mark.parametrize(("own", "expected"), [(None, DEFAULT_DELAYS), ((), ()), ((1.0, 2.0), (1.0, 2.0))])
def test_a_function_is_tried_again_as_it_says_or_by_default(own, expected):
    one = listener(raising(ValueError()), retry=own)
    assert function_handlers([one], 30.0, None)(one.key, None).schedule.delays == expected


def test_deliveries_of_a_function_that_is_not_loaded_are_tried_again():
    handler = function_handlers([listener(print)], 30.0, None)("gone.page@/events/page", None)
    assert handler.make(due("gone.page@/events/page")) == Outcome(
        "failed", "gone.page@/events/page is not loaded in this worker"
    )
    assert (handler.schedule.delays, handler.timeout) == (DEFAULT_DELAYS, 30.0)


def test_a_function_is_found_however_long_its_name_is():
    assert make(raising(GiveUp("found")), extension="extension-" * 100) == Outcome("refused", "found")


class TestKeysOfEarlierReleases:
    """They held the name of the module, as it was named on the command line, and that of the function in it."""

    def outcome(self, key, *listeners):
        find = function_handlers(listeners, 30.0, None)
        return find(key, None).make(due(key))

    @pytest.mark.parametrize(
        ("key", "found"),
        [
            ("oncall.page@/events/page", True),
            ("company.oncall.page@/events/page", True),
            ("extension-oncall.page@/events/page", True),
            ("page@/events/page", False),
            ("other.oncall.page@/events/page", False),
            ("oncall.page@/events/other", False),
            ("oncall.ring@/events/page", False),
        ],
    )
    def test_what_waits_under_them_is_made(self, key, found):
        page = raising(GiveUp("found"))
        page.__module__, page.__qualname__ = "company.oncall", "page"
        outcome = self.outcome(key, listener(page, extension="extension-oncall"))
        assert outcome == (
            Outcome("refused", "found") if found else Outcome("failed", f"{key} is not loaded in this worker")
        )

    def test_one_that_was_that_of_several_is_nobodys(self):
        alike = [listener(raising(GiveUp(name)), name=name) for name in ("first", "second")]
        key = alike[0].former_keys[0]
        assert alike[1].former_keys[0] == key
        assert self.outcome(key, *alike) == Outcome("failed", f"{key} is not loaded in this worker")
        assert [self.outcome(each.key, *alike).error for each in alike] == ["first", "second"]

    def test_ones_own_name_comes_first(self):
        page, other = raising(GiveUp("own")), raising(GiveUp("former"))
        other.__module__, other.__qualname__ = "oncall", "page"
        own, former = listener(page, extension="oncall"), listener(other, extension="other")
        assert own.key in former.former_keys
        assert self.outcome(own.key, own, former) == Outcome("refused", "own")


class Said(PublishedEvent):
    __slots__ = ()


class TestOtherSources:
    """Events of other systems are seen as their protocols say."""

    NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)

    def get(self, source, body=b'{"said":"hi"}', **more):
        """The event that a function gets."""
        seen = []
        one = listener(lambda event: seen.append(event), immediate=more.pop("immediate", False))
        given = due(bounded(one.key), body)._replace(source=source, event_name="echo.said", **more)
        outcome = function_handlers([one], 30.0, None, {"echo": Said})(one.key, None).make(given)
        assert outcome == Outcome("delivered")
        return seen[0]

    @pytest.mark.parametrize(
        ("source", "view"), [("echo", Said), ("other", PublishedEvent), ("steadybit", Event), ("Echo", PublishedEvent)]
    )
    def test_a_source_has_its_view(self, source, view):
        event = self.get(source, BODY)
        assert type(event) is view
        assert (event.source, event.body) == (source, BODY)

    @pytest.mark.parametrize("immediate", [True, False])
    def test_what_is_beside_the_body_is_what_was_recorded(self, immediate):
        recorded = {"event_id": "e-7", "time": self.NOON, "subject": "a/1", "series": "echo/a", "place": 3}
        event = self.get("echo", **recorded, immediate=immediate)
        assert (event.id, event.name, event.data) == ("e-7", "echo.said", {"said": "hi"})
        assert (event.time, event.subject, event.series) == (self.NOON, "a/1", "echo/a")
        assert 10 < event.remaining_time <= 30

    def test_what_was_not_recorded_is_none(self):
        event = self.get("echo")
        assert (event.time, event.subject, event.series, event.scope) == (None, None, None, None)

    def test_the_time_may_be_of_another_zone(self):
        there = self.NOON.astimezone(timezone(timedelta(hours=9)))
        assert self.get("echo", time=there).time == self.NOON

    def test_a_view_that_cannot_be_made_fails_as_the_function_would(self):
        class Odd(PublishedEvent):
            def __init__(self, *given):
                raise ValueError("not like this")

        one = listener(lambda event: None)
        given = due(one.key)._replace(source="odd")
        outcome = function_handlers([one], 30.0, None, {"odd": Odd})(one.key, None).make(given)
        assert outcome == Outcome("failed", "ValueError: not like this")


def test_the_former_name_of_uncounted_attempts_still_works():
    given = due("oncall.page")._replace(uncounted_attempts=3)
    with pytest.warns(DeprecationWarning, match="Due.uncounted_attempts"):
        assert given.earlier == 3


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (GiveUp("never"), Outcome("refused", "never")),
        (RetryLater(7, "busy"), Outcome("failed", "busy", retry_in=7)),
        (ValueError("a mistake"), Outcome("failed", "ValueError: a mistake")),
        (asyncio.CancelledError("enough"), Outcome("failed", "CancelledError: enough")),
    ],
)
def test_an_async_function_is_made_on_a_loop_or_by_waiting_for_it(error, outcome):
    async def page(event):
        await asyncio.sleep(0)
        if event.raw.get("bad"):
            raise error

    one = listener(page)
    handler = function_handlers([one], 30.0, lambda run, step: None)(one.key, None)
    for body, expected in ((BODY, Outcome("delivered")), (b'{"id": "7", "eventName": "a.b", "bad": 1}', outcome)):
        assert asyncio.run(handler.make_async(due(one.key, body))) == expected
        assert handler.make(due(one.key, body)).result == expected.result


def test_time_for_which_others_block_the_loop_leaves_the_state_of_an_async_function_open():
    async def keep(event):
        time.sleep(0.05)  # in place of another function
        event.state.set("key", 1)

    def make_state(extension, due, deadline):
        return State(InMemoryState(), timedelta(days=1), deadline)

    handler = function_handlers([listener(keep, timeout=0.01)], 30.0, None, make_state=make_state)
    key = listener(keep).key
    outcome = asyncio.run(handler(key, None).make_async(due(key)))
    assert outcome.result == "delivered", outcome
    assert [*outcome.changes] == ["key"]
