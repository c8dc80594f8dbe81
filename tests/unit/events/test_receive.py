"""What the receiver hands to functions; tests/scenarios/test_answers.py has what it answers."""

import json

import pytest

from extension_kit import Extension
from extension_kit.agent.factory import EventFactory
from extension_kit.events.answers import ACCEPTED, BUSY, KNOWN, NOT_STORED
from extension_kit.events.pending import Pending
from extension_kit.events.receive import Receiver
from extension_kit.events.registry import SUBSCRIPTIONS_PATH


def test_an_immediate_listener_finds_the_step_of_a_target():
    factory, extension, found = EventFactory(), Extension("extension-steps"), []
    extension.listen_to("*", path="/events/all", immediate=True)(lambda event: found.append(event.step))
    step = json.dumps(factory.event("experiment.execution.step-started")).encode()
    receiver = Receiver(
        extension.registry, "tolerant", 60, 10, find_step=lambda run, step_id: step if step_id == "step-1" else None
    )
    for step_id in ("step-1", "step-2"):
        body = json.dumps(factory.event("experiment.execution.target-started", step_execution_id=step_id)).encode()
        receiver.receive(receiver.routes["/events/all"], body, "", None, lambda run: run() is None)
    assert found[0].display_name == json.loads(step)["experimentStepExecution"]["actionName"]
    assert found[1] is None


class Recorder:
    """Writes down what it is to record; tells what it is told to, at once."""

    def __init__(self, stored=True, takes=True):
        self.recorded = []
        self.stored, self.takes = stored, takes

    def record(self, event, listeners, tell):
        if self.takes:
            self.recorded.append((event.name, event.id, [listener.name for listener in listeners]))
            tell(self.stored)
        return self.takes


class TestForSubscriptions:
    """At their path there are no functions: events are recorded, and who wants them is found out by the recording."""

    def receiver(self, recorder, mode="tolerant"):
        self.ran, extension = [], Extension("extension-test")

        def durable():
            self.ran.append("durable")

        extension.listen_to("*", path="/events/durable")(durable)
        extension.listen_to("*", path="/events/immediate", immediate=True)(lambda: self.ran.append("immediate"))
        extension.registry.include_subscriptions(lambda: ["killswitch.engaged"])
        return Receiver(extension.registry, mode, 60, 100, recorder)

    def post(self, receiver, body, path=SUBSCRIPTIONS_PATH):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        got = receiver.receive(receiver.routes[path], body, "application/json", None, lambda run: run() is None)
        return got.wait(1) if isinstance(got, Pending) else got

    @pytest.mark.parametrize("mode", ["tolerant", "strict"])
    @pytest.mark.parametrize("name", ["killswitch.engaged", "experiment.execution.failed"])
    def test_an_event_is_recorded_for_nobody_in_particular(self, event, mode, name):
        recorder = Recorder()
        receiver = self.receiver(recorder, mode)
        body = event(name)
        assert self.post(receiver, body) is ACCEPTED
        assert self.post(receiver, body) is KNOWN
        assert recorder.recorded == [(name, body["id"], [])]
        assert self.ran == []

    def test_the_same_event_at_another_path_is_recorded_for_the_functions_there(self, event):
        recorder = Recorder()
        receiver, body = self.receiver(recorder), event("killswitch.engaged", id="7")
        for path in ("/events/durable", SUBSCRIPTIONS_PATH, "/events/immediate"):
            assert self.post(receiver, body, path) is ACCEPTED
        assert recorder.recorded == [("killswitch.engaged", "7", ["durable"]), ("killswitch.engaged", "7", [])]
        assert self.ran == ["immediate"]

    @pytest.mark.parametrize(
        ("recorder", "answer"), [(Recorder(stored=False), NOT_STORED), (Recorder(takes=False), BUSY)]
    )
    def test_what_was_not_recorded_may_be_sent_again(self, event, recorder, answer):
        receiver, body = self.receiver(recorder), event("killswitch.engaged")
        assert self.post(receiver, body) is answer
        recorder.stored = recorder.takes = True
        assert self.post(receiver, body) is ACCEPTED
        assert recorder.recorded[-1] == ("killswitch.engaged", body["id"], [])

    @pytest.mark.parametrize(
        ("body", "status"), [(b"{", 400), (b"[]", 400), ({"eventName": "killswitch.engaged"}, 422)]
    )
    def test_what_is_no_event_is_refused_as_everywhere(self, body, status):
        recorder = Recorder()
        assert self.post(self.receiver(recorder), body).status == status
        assert recorder.recorded == []
