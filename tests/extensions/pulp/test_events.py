"""Events as functions see them: the attributes of ``PulpEvent``."""

from datetime import UTC, datetime

import pytest

from extension_kit import Extension
from extension_kit.protocol import PublishedEvent
from extensions.pulp import PulpEvent
from extensions.pulp.events import NotificationError, event_of
from tests.extensions.pulp.api import Worker

FINISHED = {
    "event_type": "repo.sync.finish",
    "payload": {
        "repo_id": "zoo",
        "result": "failed",
        "started": "2026-11-21T12:00:00Z",
        "completed": "2026-11-21T13:00:00.5+01:00",
    },
    "call_report": {"task_id": "t1", "state": "error"},
}


def event(**changed):
    return event_of({**FINISHED, **changed})


class TestAttributes:
    def test_those_of_a_finished_sync(self):
        made = event()
        assert isinstance(made, PulpEvent)
        assert isinstance(made, PublishedEvent)
        assert (made.source, made.id, made.name) == ("pulp", "t1/repo.sync.finish", "repo.sync.finish")
        assert (made.subject, made.series, made.repo_id) == ("zoo", "pulp/zoo", "zoo")
        assert (made.result, made.task_id) == ("failed", "t1")
        assert made.started == datetime(2026, 11, 21, 12, tzinfo=UTC)
        assert made.completed == datetime(2026, 11, 21, 12, 0, 0, 500_000, tzinfo=UTC)
        assert made.payload == FINISHED["payload"]
        assert made.call_report == FINISHED["call_report"]
        assert made.data == FINISHED

    @pytest.mark.parametrize("payload", [None, 5, "zoo", [], ["repo_id"], {}, {"repo_id": 5, "started": 1}])
    def test_odd_payloads_have_none(self, payload):
        made = event(payload=payload, call_report=None)
        assert made.payload == payload
        assert (made.repo_id, made.result, made.started, made.completed) == (None, None, None, None)
        assert (made.call_report, made.task_id, made.series) == (None, None, None)

    @pytest.mark.parametrize("text", ["", "soon", "2026-13-45T99:00:00Z", "2026"])
    def test_what_is_no_time_is_none(self, text):
        made = event(payload={"started": text, "completed": text})
        assert (made.started, made.completed) == (None, None)

    def test_those_of_a_published_event(self):
        made = PulpEvent.of(source="pulp", id="1", name="repo.sync.finish", data=FINISHED)
        assert (made.repo_id, made.result, made.task_id) == ("zoo", "failed", "t1")


class TestRefusals:
    @pytest.mark.parametrize(
        ("document", "word"),
        [
            (None, "JSON object"),
            ([], "JSON object"),
            ({}, "event_type"),
            ({**FINISHED, "event_type": "*"}, "event_type"),
            ({"event_type": "repo.sync.start"}, "payload"),
            ({**FINISHED, "call_report": []}, "call_report"),
        ],
    )
    def test_they_say_why(self, document, word):
        with pytest.raises(NotificationError, match=word):
            event_of(document)


class TestFunctions:
    def test_one_gets_the_event_of_a_notification(self, make_api):
        extension, got = Extension("listens"), []

        @extension.listen_to("repo.*.finish")
        def listen(event):
            got.append(event)

        api = make_api(extension)
        api.ask("POST", "/pulp/notifications", FINISHED)
        api.notify("repo.sync.start")
        assert [row.status for row in Worker(api).attempt()] == ["delivered"]
        (made,) = got
        assert isinstance(made, PulpEvent)
        assert (made.repo_id, made.result, made.task_id, made.name) == ("zoo", "failed", "t1", "repo.sync.finish")
        assert made.data == FINISHED
