import io
import json
import os

import pytest

from extension_kit.agent.recording import open_recording
from extension_kit.errors import ConfigurationError

EVENTS = [{"id": "1", "eventName": "a"}, {"id": "2", "eventName": "b"}, {"id": "3"}]
LINES = b"".join(json.dumps(event).encode() + b"\n" for event in EVENTS)
ONE_PER_PAGE = json.dumps(EVENTS[0], indent=2).encode()


@pytest.fixture
def file(tmp_path):
    def write(content: bytes) -> str:
        path = tmp_path / "events.jsonl"
        path.write_bytes(content)
        return str(path)

    return write


def read(path):
    with open_recording(path) as recording:
        events = list(recording.events)
    assert recording.total in (len(events), None)
    return events


@pytest.mark.parametrize(
    "content",
    [
        LINES,
        LINES.rstrip(b"\n"),
        LINES.replace(b"\n", b"\r\n"),
        LINES.replace(b"\n", b"\n\n \t\n"),
        b"\n \n" + LINES,
        b"\xef\xbb\xbf" + LINES,
        json.dumps(EVENTS).encode(),
        json.dumps(EVENTS, indent=4).encode(),
        b"\n\n" + json.dumps(EVENTS, indent=4).encode() + b"\n\n",
        b"\xef\xbb\xbf" + json.dumps(EVENTS, indent=4).encode(),
        b"[" + LINES.strip().replace(b"\n", b"\n,") + b"]",
    ],
)
def test_events_are_read_from_lines_and_from_an_array(file, content):
    path = file(content)
    assert read(path) == EVENTS
    with open_recording(path) as recording:
        assert recording.total == 3


def test_one_event_may_span_several_lines(file):
    assert read(file(ONE_PER_PAGE + b"\n")) == EVENTS[:1]


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (LINES + b'{"id": }\n', "line 4, column 8 is not JSON"),
        (LINES.replace(b"\n", b"\n\n") + b"{", "line 7, column 2 is not JSON"),
        (b'\n{"id": }\n' + LINES, "line 2, column 8 is not JSON"),
        (b'[{"id": "1"},\n {"id": }]', "line 2, column 9 is not JSON"),
        (b'\n[{"id": "1"},\n {"id": "2"}\n', "line 4, column 1 is not JSON"),
        (LINES + b'{"id": NaN}\n', "line 4, column 8 is not JSON"),
        (LINES + b'{"id": "\xff"}\n', "line 4, column 1 is not JSON"),
        (LINES + b'{"id":' * 5000 + b"\n", "line 4, column"),
        (LINES + b"[1, 2]\n", "line 4: an event is a JSON object, not [1, 2]"),
        (LINES + b"null\n", "line 4: an event is a JSON object, not None"),
        (b'"' + b"x" * 1000 + b'"', "line 1: an event is a JSON object, not " + "x" * 40),
        (b"[1]", "line 1: an event is a JSON object, not 1"),
    ],
)
def test_what_is_no_event_is_refused_with_its_place(file, content, where):
    path = file(content)
    with pytest.raises(ConfigurationError) as error:
        read(path)
    assert str(error.value).startswith(f"{path}, {where}")


def test_lines_before_a_broken_one_are_read(file):
    with open_recording(file(LINES + b"oops\n")) as recording:
        assert [next(recording.events) for _ in EVENTS] == EVENTS
        with pytest.raises(ConfigurationError, match="line 4"):
            next(recording.events)


@pytest.mark.parametrize("content", [b"", b"\n\n  \n"])
def test_an_empty_file_is_refused(file, content):
    with pytest.raises(ConfigurationError, match="holds no events"):
        read(file(content))


def test_an_empty_array_is_no_events(file):
    assert read(file(b"[]")) == []


@pytest.mark.parametrize(("path", "reason"), [("missing.jsonl", "No such file"), (".", "directory")])
def test_a_file_that_cannot_be_read_is_named(tmp_path, path, reason):
    path = str(tmp_path / path)
    with pytest.raises(ConfigurationError, match=reason) as error, open_recording(path):
        pass
    assert path in str(error.value)


def test_standard_input_is_read_as_it_comes(monkeypatch):
    """Each line is there before the next one is written: nothing waits for the end of a stream."""
    reading, writing = os.pipe()
    with open(reading, "rb", buffering=0) as raw, open(writing, "wb", buffering=0) as source:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(raw)))
        source.write(LINES.splitlines(keepends=True)[0])
        with open_recording("-") as recording:
            assert recording.total is None
            assert next(recording.events) == EVENTS[0]
            for line, event in zip(LINES.splitlines(keepends=True)[1:], EVENTS[1:], strict=True):
                source.write(line)
                assert next(recording.events) == event
            source.close()
            assert list(recording.events) == []


def test_an_array_from_standard_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(json.dumps(EVENTS, indent=1).encode())))
    assert read("-") == EVENTS


def test_a_broken_line_of_standard_input_is_named_so(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(LINES + b"oops")))
    with pytest.raises(ConfigurationError, match="standard input, line 4"):
        read("-")
