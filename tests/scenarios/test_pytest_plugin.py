"""The tests of an extension, as its author writes them."""

import pytest

pytest_plugins = ["pytester"]

ONCALL = """
from extension_kit import Event, Extension

extension = Extension("extension-oncall")
seen = []

@extension.listen_to("experiment.execution.failed", "experiment.execution.errored")
def page(event: Event) -> None:
    if event.experiment_execution.experiment_key == "BAD-1":
        raise LookupError("nobody is on call")
    seen.append(event)

@extension.listen_to("*", restrict_to="any")
def log() -> None:
    pass

@extension.listen_to("experiment.execution.failed", path="/events/page")
def count(event):
    pass

@extension.listen_to("killswitch.*", immediate=True)
def switched(event):
    if event.tenant.key == "BAD":
        raise LookupError("nobody is on call")
    seen.append((event.remaining_time, event.name))
"""

CONFTEST = """
import pytest

@pytest.fixture
def extension():
    from oncall import extension

    return extension
"""


@pytest.fixture
def check(pytester, monkeypatch):
    """Run tests beside the handler module; all of them must pass."""
    for name in ("STEADYBIT_EXTENSION_VALIDATION", "STEADYBIT_EXTENSION_BASIC_USERNAME"):
        monkeypatch.delenv(name, raising=False)
    pytester.makepyfile(oncall=ONCALL)
    pytester.makeconftest(CONFTEST)

    def check(tests: str, *options: str) -> None:
        pytester.makepyfile(test_oncall=tests)
        result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-Werror", *options)
        outcomes = result.parseoutcomes()
        assert set(outcomes) == {"passed"}, result.stdout.str()

    return check


def test_three_lines(check):
    check("""
def test_pages_when_an_experiment_fails(agent):
    sent = agent.send("experiment.execution.failed", experiment_key="SHOP-7")
    assert sent.status == 200
    assert sent.ran == ["log", "page", "count"]
""")


def test_what_the_extension_did_can_be_looked_at(check):
    check("""
import oncall

def test_call(agent):
    sent = agent.send("experiment.execution.errored", state="errored", name="Mine")
    assert oncall.seen[-1].experiment_execution.name == "Mine"
    log, page = sent.calls
    assert page.name == "page" and page.error is None
    assert page.event.experiment_execution.name == "Mine"
    assert page.event.id == sent.event["id"]
    assert sent.error is None

def test_answers(agent):
    sent = agent.send("experiment.execution.errored")
    assert [(answer.path, answer.status, answer.body) for answer in sent.answers] == [
        ("/events/log", 200, {}), ("/events/page", 200, {})
    ]
    assert sent.answer == {}

def test_patterns(agent):
    assert agent.send("killswitch.engaged").ran == ["log", "switched"]
    assert agent.send("user.invited").ran == ["log"]
""")


def test_an_exception_is_there_to_be_asserted_on(check):
    check("""
import pytest

def test_nobody_is_on_call(agent):
    sent = agent.send("experiment.execution.failed", experiment_key="BAD-1")
    assert sent.status == 200
    assert isinstance(sent.error, LookupError)
    assert sent.ran == ["log", "page", "count"]
    with pytest.raises(LookupError, match="nobody"):
        raise sent.error

def test_what_an_immediate_function_raises_is_the_answer(agent):
    sent = agent.send("killswitch.engaged", tenant={"key": "BAD"})
    assert (sent.status, sent.answer["detail"]) == (500, "nobody is on call")
    assert isinstance(sent.error, LookupError)
    assert sent.ran == ["log", "switched"]
    assert [delivery.name for delivery in sent.deliveries] == ["log"]
""")


def test_durable_functions_are_run_as_a_worker_runs_them(pytester, check):
    pytester.makepyfile(
        oncall="""
        import asyncio

        from extension_kit import Extension, GiveUp, RetryLater

        extension = Extension("extension-oncall")
        outcomes = []

        @extension.listen_to("experiment.execution.failed", retry=[10, 20, 30])
        def page(event):
            outcome = outcomes.pop(0)
            if outcome is not None:
                raise outcome

        async def wait():
            pass

        @extension.listen_to("experiment.execution.canceled", retry=[])
        def forgotten(event):
            return wait()

        @extension.listen_to("killswitch.engaged", timeout=5)
        def stop(event):
            assert 0 < event.remaining_time <= 5
    """
    )
    check("""
import gc
import time

import oncall
import pytest
from extension_kit import GiveUp, RetryLater

ENGAGED = OSError("engaged")

@pytest.mark.parametrize(("outcomes", "status", "attempts", "error", "waits"), [
    ([None], "delivered", 1, None, []),
    ([ENGAGED, None], "delivered", 2, None, [10]),
    ([ENGAGED, ENGAGED, ENGAGED, None], "delivered", 4, None, [10, 20, 30]),
    ([ENGAGED] * 4, "dead", 4, "OSError: engaged", [10, 20, 30]),
    ([GiveUp("no such number")], "dead", 1, "no such number", []),
    ([ENGAGED, GiveUp("no such number")], "dead", 2, "no such number", [10]),
    ([RetryLater(3600), None], "delivered", 2, None, [3600]),
    ([RetryLater(3600, "at night")] * 4, "dead", 4, "at night", [3600] * 3),
])
def test_outcomes(agent, outcomes, status, attempts, error, waits):
    oncall.outcomes[:] = outcomes
    started = time.monotonic()
    sent = agent.send("experiment.execution.failed")
    assert time.monotonic() - started < 9  # and not the seconds that a worker would wait
    assert (sent.status, sent.ran, len(sent.calls)) == (200, ["page"], attempts)
    (delivery,) = sent.deliveries
    assert (delivery.name, delivery.status, delivery.attempts, delivery.error) == ("page", status, attempts, error)
    assert delivery.waits == pytest.approx(waits, rel=0.11)
    assert [call.error for call in sent.calls] == outcomes

def test_work_that_nobody_does(agent):
    sent = agent.send("experiment.execution.canceled")
    assert (sent.status, sent.deliveries[0].status) == (200, "dead")
    assert "returned an awaitable" in sent.deliveries[0].error
    assert isinstance(sent.error, TypeError)
    gc.collect()

def test_the_time_there_is(agent):
    assert agent.send("killswitch.engaged").deliveries[0].status == "delivered"
""")


def test_async_functions_are_run_on_one_loop_as_others_are(pytester, check):
    pytester.makepyfile(
        oncall="""
        import asyncio
        from extension_kit import Extension, GiveUp

        extension = Extension("extension-oncall")
        loops = []

        @extension.listen_to("experiment.execution.failed", retry=[5])
        async def page(event):
            await asyncio.sleep(0)
            loops.append(asyncio.get_running_loop())
            if event.experiment_execution.experiment_key == "BAD-1":
                raise LookupError("nobody is on call")
            if event.experiment_execution.experiment_key == "BAD-2":
                raise GiveUp("never")

        @extension.listen_to("killswitch.*", immediate=True)
        async def switched(event):
            loops.append(asyncio.get_running_loop())
            raise LookupError("the switch is broken")
        """
    )
    check(
        """
        import oncall

        def test_outcomes(agent):
            oncall.loops.clear()
            sent = agent.send("experiment.execution.failed")
            assert (sent.ran, sent.deliveries[0].status) == (["page"], "delivered")
            sent = agent.send("experiment.execution.failed", experiment_key="BAD-1")
            assert (sent.deliveries[0].status, sent.deliveries[0].attempts) == ("dead", 2)
            assert [str(call.error) for call in sent.calls] == ["nobody is on call"] * 2
            sent = agent.send("experiment.execution.failed", experiment_key="BAD-2")
            assert (sent.deliveries[0].attempts, sent.deliveries[0].error) == (1, "never")
            sent = agent.send("killswitch.engaged")
            assert (sent.status, str(sent.error)) == (500, "the switch is broken")
            assert len(set(oncall.loops)) == 1
        """
    )


@pytest.mark.parametrize("listener", ["page", "log"])
@pytest.mark.parametrize("started", [True, False])
def test_targets_find_their_step_where_they_would_on_a_server(pytester, check, listener, started):
    names = ["experiment.execution.target-started", "experiment.execution.target-failed"]
    names += ["experiment.execution.step-started"] * started
    pytester.makepyfile(
        oncall=f"""
        from extension_kit import Extension

        extension = Extension("extension-oncall")
        steps = []

        def page(event):
            steps.append((event.name, event.step.id if event.step else None))

        extension.listen_to(*{names}, immediate={listener == "log"})(page)
        extension.listen_to(*{names}, path="/events/durable")(lambda event: None)
    """
    )
    check(f"""
import oncall

def test_run(agent):
    played = agent.play(agent.factory.run(outcome="failed", steps=3))
    bodies = [sent.event for sent in played if "page" in sent.ran and "target-" in sent.event["eventName"]]
    steps = [step for name, step in oncall.steps if "target-" in name]
    assert steps
    assert steps == [body["experimentStepTargetExecution"]["stepExecutionId"] if {started} else None for body in bodies]

def test_another_agent_remembers_nothing_of_that(agent):
    oncall.steps.clear()
    target = next(body for body in agent.factory.run(outcome="failed") if "target-" in body["eventName"])
    agent.send(target)
    assert [step for _, step in oncall.steps] == [None]
""")


def test_roles(check):
    check("""
def test_follower(agent):
    agent.role = "follower"
    assert agent.send("experiment.execution.failed").ran == ["log"]
""")


def test_an_event_that_nobody_wants(pytester, check):
    pytester.makepyfile(oncall=ONCALL.replace('@extension.listen_to("*"', '@extension.listen_to("user.invited"'))
    check("""
def test_nobody(agent):
    sent = agent.send("experiment.execution.created")
    assert (sent.status, sent.answer, sent.answers, sent.ran, sent.error) == (None, None, [], [], None)
""")


def test_bodies_of_ones_own(check):
    check("""
import pytest

def test_refused(agent):
    sent = agent.send({"eventName": "experiment.execution.failed", "tenant": "wrong"})
    assert sent.status == 422
    assert "/tenant" in [error["pointer"] for error in sent.answer["errors"]]
    assert sent.ran == []

def test_changes_are_for_made_up_events(agent):
    with pytest.raises(TypeError, match="give a name"):
        agent.send({"eventName": "user.invited"}, state="x")

def test_typos_are_told(agent):
    with pytest.raises(ValueError, match="did you mean experiment.execution.failed"):
        agent.send("experiment.execution.faild")
    with pytest.raises(TypeError, match="did you mean experiment_key"):
        agent.send("experiment.execution.failed", experimentkey="x")
""")


def test_the_same_event_twice_runs_once_but_not_across_tests(check):
    check("""
import pytest

@pytest.mark.parametrize("again", range(3))
def test_duplicate(agent, again):
    body = agent.factory.event("user.invited", id="same")
    assert agent.send(body).ran == ["log"]
    sent = agent.send(body)
    assert (sent.status, sent.ran) == (200, [])
    assert agent.send("user.invited").ran == ["log"]
""")


def test_the_registration_document(check):
    check("""
def test_document(agent):
    listeners = {listener["path"]: listener for listener in agent.registration["eventListeners"]}
    assert set(listeners) == {"/events/page", "/events/log", "/events/switched"}
    assert listeners["/events/log"] == {
        "method": "POST", "path": "/events/log", "listenTo": ["*"], "restrictTo": "any"
    }
""")


def test_whole_runs_and_recordings(pytester, check):
    pytester.path.joinpath("events.jsonl").write_text(
        '{"id": "1", "eventName": "user.invited", "tenant": {}, "eventTime": "2026-01-01T00:00:00Z"}\n'
        '{"id": "2", "eventName": "killswitch.engaged", "tenant": {}, "eventTime": "2026-01-01T00:00:00Z"}\n'
    )
    check("""
from pathlib import Path

def test_run(agent):
    everything = agent.play(agent.factory.run(outcome="failed", steps=2))
    assert all(sent.status == 200 for sent in everything)
    assert sum(sent.ran.count("page") for sent in everything) == 1

def test_replay(agent):
    first, second = agent.replay("events.jsonl")
    assert first.ran == ["log"]
    assert second.ran == ["log", "switched"]
    assert len(agent.replay(Path("events.jsonl"))) == 2
""")


def test_a_request_timeout(check):
    check("""
import oncall

def test_remaining_time(agent):
    agent.send("killswitch.engaged")
    assert oncall.seen[-1] == (None, "killswitch.engaged")
    agent.timeout = 30
    agent.send("killswitch.disengaged")
    remaining, name = oncall.seen[-1]
    assert name == "killswitch.disengaged"
    assert 0 < remaining <= 30
""")


def test_settings_are_those_of_the_environment(check, monkeypatch):
    monkeypatch.setenv("STEADYBIT_EXTENSION_VALIDATION", "strict")
    monkeypatch.setenv("STEADYBIT_EXTENSION_BASIC_USERNAME", "agent")
    monkeypatch.setenv("STEADYBIT_EXTENSION_BASIC_PASSWORD", "s3cret")
    check("""
def test_strict(agent):
    assert agent.send("experiment.execution.failed").status == 200
    sent = agent.send("experiment.execution.failed", state="FAILED")
    assert sent.status == 422
    assert "/experimentExecution/state" in str(sent.answer)
""")


def test_nothing_is_left_behind(check):
    check("""
from extension_kit.events.registry import Listener

original = Listener.call

def test_listeners_are_called_plainly_afterwards(agent):
    agent.send("user.invited")
    assert Listener.call is original
""")


@pytest.mark.parametrize(
    ("conftest", "message"),
    [
        ("", "*does not know your extension*"),
        (CONFTEST.replace("return extension", "return extension.create_app()"), "*it should return your Extension*"),
        (CONFTEST.replace("return extension", "pass"), "*extension returns None*"),
    ],
)
def test_without_an_extension_the_error_says_what_to_write(pytester, conftest, message):
    pytester.makepyfile(oncall=ONCALL, test_oncall="def test_one(agent): pass")
    pytester.makeconftest(conftest)
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([message])
    result.stdout.no_fnmatch_line("*Traceback*")
    if not conftest:
        result.stdout.fnmatch_lines(["*def extension():*"])


def test_the_fixtures_describe_themselves(pytester):
    result = pytester.runpytest_inprocess("--fixtures", "-p", "no:cacheprovider")
    result.stdout.fnmatch_lines(["extension -- *", "agent -- *", "*calls your extension in memory*"])


def test_the_plugin_is_light(pytester, monkeypatch):
    """Every pytest run in an environment with the kit loads the plugin, also those that have no use for it."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile("""
import sys

def test_nothing_is_imported_for_tests_without_the_fixture():
    assert "extension_kit.testing.plugin" in sys.modules
    assert not {"rich", "urllib3", "extension_kit.agent", "extension_kit.testing.agent"} & set(sys.modules)
""")
    result = pytester.runpytest_subprocess("-p", "extension_kit.testing.plugin", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)


def test_events_of_another_system_reach_the_functions_that_want_them(check):
    check("""
        from extension_kit import Extension
        from extension_kit.protocol import PublishedEvent

        def test_it(agent):
            event = PublishedEvent.of(source="croneye", id="1", name="croneye.job.error", data={"job_id": "a"})
            sent = agent.publish(event)
            assert (sent.ran, sent.answers, sent.error, sent.event) == (["log"], [], None, {"job_id": "a"})

        def test_what_they_raise_is_in_the_result(agent):
            failed = PublishedEvent.of(source="croneye", id="1", name="experiment.execution.failed", data=None)
            sent = agent.publish(failed)
            assert sent.ran == ["page", "count", "log"]
            assert isinstance(sent.error, AttributeError)
            assert [(each.name, each.status, each.attempts) for each in sent.deliveries] == [
                ("page", "dead", 8), ("count", "delivered", 1), ("log", "delivered", 1)
            ]

        class JobEvent(PublishedEvent):
            __slots__ = ()

        def test_they_are_seen_as_their_protocol_shows_them(agent):
            event = JobEvent.of(source="croneye", id="1", name="killswitch.engaged", data={"job_id": "a"}, series="a")
            seen = agent.publish(event).calls[0].event
            assert (type(seen), seen.data, seen.series) == (JobEvent, {"job_id": "a"}, "a")
            assert seen.remaining_time > 0
        """)


def test_state_is_kept_in_memory(pytester, check):
    pytester.makepyfile(
        counts="""
        from extension_kit import Extension, GiveUp

        extension = Extension("extension-counts")

        @extension.listen_to("experiment.execution.failed")
        def count(event):
            event.state.set("failed", event.state.get("failed", 0) + 1)
            event.state.set(f"attempt/{event.id}", event.attempt)
            if event.attempt == 1:
                event.state.set("lost", True)
                raise LookupError("nobody is on call")

        @extension.listen_to("experiment.execution.canceled")
        def refuse(event):
            event.state.set("refused", True)
            raise GiveUp("no")

        @extension.listen_to("killswitch.*")
        def forget(event):
            for key in event.state.keys():
                event.state.delete(key)

        @extension.listen_to("experiment.execution.created", immediate=True)
        def at_once(event):
            event.state.get("failed")
        """
    )
    check("""
        import pytest

        @pytest.fixture
        def extension():
            from counts import extension

            return extension

        def test_what_attempts_leave(agent, extension):
            first, second = agent.send("experiment.execution.failed"), agent.send("experiment.execution.failed")
            assert agent.send("experiment.execution.canceled").deliveries[0].status == "dead"
            ids = [each.event["id"] for each in (first, second)]
            assert agent.state == {"failed": 2, **{f"attempt/{id}": 2 for id in ids}}
            assert extension.state.get("failed") == 2
            assert extension.state.keys("attempt/") == sorted(f"attempt/{id}" for id in ids)
            agent.send("killswitch.engaged")
            assert agent.state == {}

        def test_another_agent_begins_anew(agent, extension):
            assert agent.state == {}
            assert extension.state.keys() == []

        def test_immediate_functions_have_none(agent):
            assert "immediate=True" in str(agent.send("experiment.execution.created").error)
        """)
