"""Facts of an event: of Steadybit's, and those that another protocol finds; its mistakes are left to the log."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from extension_kit import Extension
from extension_kit.event_log.cells import ShownCell
from extension_kit.event_log.facts import MOST_FACTS, facts_of
from extension_kit.protocol import EventProtocol, Status
from extension_kit.runtime.service import Service
from extension_kit.settings.kit import Settings

TEN = datetime(2026, 11, 21, 10, tzinfo=UTC)


@dataclass(frozen=True)
class NoSettings:
    """There are none."""


def facts(find, body=b"{}", source="door"):
    extension = Extension("extension-door")
    extension.add_protocol(EventProtocol("door", NoSettings, lambda *_: None, log_facts=find))
    return facts_of(Service.of([extension], Settings()), source, body)


def test_of_a_steadybit_event_need_no_extension(event):
    body = orjson.dumps(event("experiment.execution.failed"))
    found = dict(facts_of(None, "steadybit", body))
    assert found["State"].text == "failed"
    assert found["Started"].kind == "moment"
    assert "Target" not in found
    assert all(cell.text for cell in found.values())


def test_of_another_protocol_are_found_by_it():
    def find(body):
        return [("Door", orjson.loads(body)["door"]), ("Since", TEN), ("State", Status("failed")), ("Times", 0)]

    assert facts(find, b'{"door": "front"}') == [
        ("Door", ShownCell("text", "front")),
        ("Since", ShownCell("moment", "2026-11-21T10:00:00+00:00", TEN)),
        ("State", ShownCell("status", "failed")),
        ("Times", ShownCell("number", "0")),
    ]


def test_without_a_value_are_left_out_and_others_are_texts():
    given = [("A", None), ("B", ""), ("C", timedelta(seconds=90)), ("D", TEN.replace(tzinfo=None)), ("E", ["f"])]
    assert [(label, cell.text) for label, cell in facts(lambda body: given)] == [
        ("C", "0:01:30"),
        ("D", "2026-11-21 10:00:00"),
        ("E", "['f']"),
    ]


def test_secrets_are_hidden():
    ((_, cell),) = facts(lambda body: [("Exception", "no answer of https://me:hush@host/?token=hush")])
    assert cell.text == "no answer of https://***@host/?token=***"


def test_there_are_a_bounded_number():
    assert len(facts(lambda body: [("A", 1)] * 1000)) == MOST_FACTS


@pytest.mark.parametrize("find", [lambda body: 1 / 0, lambda body: None, lambda body: [1]])
def test_that_cannot_be_found_are_left_out_and_the_log_says_why(find, caplog):
    assert facts(find) == []
    assert "Cannot find the facts of an event of door" in caplog.text


def test_of_an_unknown_protocol_there_are_none():
    assert facts(None) == facts(lambda body: [("A", 1)], source="window") == facts_of(None, "door", b"{}") == []
