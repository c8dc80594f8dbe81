import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from extension_kit.cli import main

COMMAND = str(Path(sys.executable).parent / "extension-kit")
EVENTS = [{"id": str(number), "eventName": "user.invited"} for number in range(3)]


@pytest.fixture
def recording(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text("".join(json.dumps(event) + "\n" for event in EVENTS))
    return str(path)


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command line in this process; give the exit code, stdout and stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["extension-kit", "agent", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return ended.value.code, out, err

    return run


def test_everything_accepted(run, extension, recording):
    code, out, err = run(extension.url, "--replay", recording, "--fast")
    assert code == 0
    assert [request.event for request in extension.received] == EVENTS
    assert re.search(r"POST /events/all +3 +3 +- +- +\d+\.\d +\d+\.\d", out)
    assert "events: 3, requests: 3, refused: 0, events without a listener: 0" in out
    assert err == ""


def test_something_refused(run, extension, recording):
    answers = iter([(200, b"{}"), (422, b'{"title": "No [bold]", "detail": "wrong"}'), None])
    extension.answer = lambda request: next(answers)
    code, out, _ = run(extension.url, "--replay", recording, "--fast")
    assert code == 1
    assert re.search(r"POST /events/all +3 +1 +- +422: 1, no answer: 1 ", out)
    assert "events: 3, requests: 3, refused: 2" in out
    assert "422: user.invited 1 to POST /events/all: No [bold]. wrong" in out
    assert "no answer: user.invited 2 to POST /events/all: " in out


def test_what_the_extension_knew_already(run, extension, recording):
    known = {"Extension-Duplicate": "true"}
    answers = iter([(200, b"{}", known), (200, b"{}"), (200, b"{}", known)])
    extension.answer = lambda request: next(answers)
    code, out, _ = run(extension.url, "--replay", recording, "--fast")
    assert code == 0
    assert re.search(r"POST /events/all +3 +3 +2 +- ", out)
    assert out.endswith("Known events were not run again: --fresh-ids sends them with new ids.\n")


def test_fresh_ids(run, extension, tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text("".join(json.dumps(event) + "\n" for event in [*EVENTS, EVENTS[0], {"eventName": "user.invited"}]))
    for _ in range(2):
        code, _, _ = run(extension.url, "--replay", path, "--fast", "--fresh-ids")
        assert code == 0
    ids = [request.event.get("id") for request in extension.received]
    assert [ids[0], ids[5]] == [ids[3], ids[8]]  # what came twice comes twice
    assert [ids[4], ids[9]] == [None, None]
    assert len({*ids[:3], *ids[5:8]}) == 6
    assert not {event["id"] for event in EVENTS} & set(ids)
    assert {request.event["eventName"] for request in extension.received} == {"user.invited"}


def test_events_nobody_wants(run, extension, recording):
    extension.listen({"method": "POST", "path": "/x", "listenTo": ["killswitch.engaged"]})
    code, out, _ = run(extension.url, "--replay", recording, "--fast")
    assert code == 0
    assert out == "events: 3, requests: 0, refused: 0, events without a listener: 3\n"


def test_a_registration_document_that_agents_do_not_understand(run, extension, recording):
    extension.listen({"path": "/x", "listenTo": ["*"]})
    code, out, _ = run(extension.url, "--replay", recording, "--fast")
    assert code == 1
    assert "problem: eventListeners[0].method must be POST, PUT or DELETE, not None" in out


def test_an_extension_that_is_not_there(run, recording):
    code, out, err = run("unix:/does/not/exist.sock", "--replay", recording)
    assert code == 1
    assert "problem: unix:/does/not/exist.sock does not answer: No such file or directory" in out
    assert "Traceback" not in out + err


def test_a_plain_line_for_each_interval(run, extension, recording):
    code, _, err = run(extension.url, "--replay", recording, "--limit", 1, "--interval", 0.01)
    assert code == 0
    first, second = err.splitlines()
    assert re.fullmatch("events: 2, requests: [12], refused: 0", first)  # the second may be under way
    assert re.fullmatch("events: 3, requests: [23], refused: 0", second)
    assert len(extension.asked) == 3


def test_made_up_runs(run, extension):
    code, out, err = run(extension.url, "--generate", 2, "--fast")
    assert code == 0
    names = [request.event["eventName"] for request in extension.received]
    assert names.count("experiment.execution.requested") == 2
    assert f"events: {len(names)}, " in out

    seed = re.search(r"--seed (\d+)", err)[1]
    first = extension.received
    extension.requests = []
    _, _, err = run(extension.url, "--generate", 2, "--fast", "--seed", seed)
    assert [request.event["id"] for request in extension.received] == [request.event["id"] for request in first]
    assert err == ""


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_one_of_the_runs_fails_whatever_the_seed(run, extension, seed):
    run(extension.url, "--generate", 1, "--fast", "--seed", seed)
    assert [request.event["eventName"] for request in extension.received][-1] == "experiment.execution.failed"


def test_without_more_one_run_is_made_up_and_never_the_same(run, extension):
    for _ in range(2):
        code, _, _ = run(extension.url, "--fast")
        assert code == 0
    events = [request.event for request in extension.received]
    assert sum(event["eventName"] == "experiment.execution.requested" for event in events) == 2
    assert len({event["id"] for event in events}) == len(events)


def test_options_reach_the_agent(run, extension, recording):
    extension.listen(
        {"method": "POST", "path": "/any", "listenTo": ["*"], "restrictTo": "any"},
        {"method": "POST", "path": "/leader", "listenTo": ["*"]},
    )
    options = ["--role", "follower", "--timeout", 3, "--redeliver", "--concurrency", 2, "--wait", 1, "--fast"]
    code, _, _ = run(extension.url, "--replay", recording, *options)
    assert code == 0
    assert [request.path for request in extension.received] == ["/any"] * 6
    assert {request.headers["request-timeout"] for request in extension.requests} == {"3"}


@pytest.mark.parametrize("way", ["variable", "file"])
def test_the_password_comes_from_the_environment_or_a_file(run, extension, recording, monkeypatch, tmp_path, way):
    extension.credentials = "agent:s3cret"
    if way == "variable":
        monkeypatch.setenv("STEADYBIT_AGENT_BASIC_PASSWORD", "s3cret")
    else:
        (tmp_path / "password").write_text("s3cret\n")
        monkeypatch.setenv("STEADYBIT_AGENT_BASIC_PASSWORD_FILE", str(tmp_path / "password"))
    code, _, _ = run(extension.url, "--replay", recording, "--fast", "--basic", "agent")
    assert code == 0


def test_a_wrong_password_is_not_shown(run, extension, recording, monkeypatch):
    extension.credentials = "agent:right"
    monkeypatch.setenv("STEADYBIT_AGENT_BASIC_PASSWORD", "wr0ng")
    code, out, err = run(extension.url, "--replay", recording, "--fast", "--basic", "agent")
    assert code == 1
    assert "401 Wrong or missing credentials" in out
    assert "wr0ng" not in out + err


def test_the_password_is_asked_for_at_a_terminal(extension, recording):
    extension.credentials = "agent:s3cret"
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        [COMMAND, "agent", extension.url, "--replay", recording, "--fast", "--basic", "agent"],
        stdin=end,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # without the terminal that the tests may have been started from
    )
    os.close(end)
    asked = b""
    while b"Password of agent:" not in asked:
        asked += process.stdout.read1()
    os.write(terminal, b"s3cret\n")
    out, _ = process.communicate(timeout=60)
    os.close(terminal)
    assert process.returncode == 0, out
    assert len(extension.received) == 3
    assert b"s3cret" not in asked + out


def test_what_others_wrote_cannot_steer_the_terminal(run, extension, tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text(json.dumps({"id": "\x1b[2J", "eventName": "a\nb"}))
    extension.listen({"method": "POST", "path": "/\x1b]0;x", "listenTo": ["*", "\x1b*"]})
    extension.answer = lambda request: (400, b"\x1b[31m")
    code, out, err = run(extension.url, "--replay", path, "--fast")
    assert code == 1
    assert "400: a b [2J to POST / ]0;x: [31m" in out
    assert "\x1b" not in out + err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["localhost:8080"], "is not a URL"),
        (["http://user:s3cret@localhost:8080"], "leave user name and password out of the URL"),
        (["URL", "--replay", "/does/not/exist"], "cannot read /does/not/exist: No such file or directory"),
        (["URL", "--replay", "/dev/null"], "/dev/null holds no events"),
        (["URL", "--replay", "x", "--generate", "1"], "either --replay or --generate"),
        (["URL", "--basic", "agent"], "set STEADYBIT_AGENT_BASIC_PASSWORD"),
        (["URL", "--ca", "/does/not/exist"], "cannot read certificates from /does/not/exist"),
        (["URL", "--client-key", "/does/not/exist"], "--client-cert"),
        (["URL", "--generate", "0"], "0 is not in the range"),
        (["URL", "--limit", "0"], "0 is not in the range"),
        (["URL", "--interval", "0"], "0.0 is not in the range"),
        (["URL", "--timeout", "-1"], "-1.0 is not in the range"),
        (["URL", "--concurrency", "0"], "0 is not in the range"),
        (["URL", "--role", "chief"], "'chief' is not one of"),
        ([], "Missing argument 'URL'"),
    ],
)
def test_bad_usage(run, extension, monkeypatch, arguments, message):
    with open(os.devnull) as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        code, out, err = run(*[extension.url if argument == "URL" else argument for argument in arguments])
    assert code == 2
    assert message in err
    assert "s3cret" not in err
    assert "Traceback" not in err
    assert out == ""
    assert extension.requests == []


def test_a_broken_line_ends_it_with_its_number(run, extension, tmp_path):
    path = tmp_path / "broken.jsonl"
    path.write_text(json.dumps(EVENTS[0]) + "\n{oops\n")
    code, _, err = run(extension.url, "--replay", path, "--fast")
    assert code == 2
    assert err == f"extension-kit: {path}, line 2, column 2 is not JSON: unexpected character, expected a string key\n"
    assert len(extension.received) == 1


def test_events_from_standard_input(extension, recording):
    with open(recording) as source:
        done = subprocess.run(
            [COMMAND, "agent", extension.url, "--replay", "-", "--fast"], stdin=source, capture_output=True, timeout=60
        )
    assert done.returncode == 0, done.stderr
    assert len(extension.received) == 3


def test_on_a_terminal_there_is_a_progress_bar(extension, recording):
    """The bar goes to stderr, so that stdout can be kept in a file."""
    terminal, end = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen(
        [COMMAND, "agent", extension.url, "--replay", recording, "--limit", "1", "--interval", "0.2"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=end,
        env=environment,
    )
    os.close(end)
    shown = b""
    try:
        while chunk := os.read(terminal, 4096):
            shown += chunk
    except OSError:  # how Linux says that the other side is closed
        pass
    finally:
        os.close(terminal)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert re.search(rb"events \(events: \d, requests: \d, refused: 0\).*\d/3", shown)
    assert b"events: 3, requests: 3, refused: 0" in out
    assert b"\x1b" not in out


def test_interrupted(extension):
    """Ctrl-C ends an endless stream, and still says what came of it."""
    arrived = threading.Semaphore(0)
    extension.answer = lambda request: (arrived.release(), (200, b"{}"))[1]
    process = subprocess.Popen(
        [COMMAND, "agent", extension.url, "--replay", "-", "--fast"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdin.writelines(json.dumps(event).encode() + b"\n" for event in EVENTS[:2])
    process.stdin.flush()
    assert arrived.acquire(timeout=60)
    assert arrived.acquire(timeout=60)  # so the answer to the first event has been counted
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert re.search(rb"events: [12], requests: [12], refused: 0", out)
    assert b"Traceback" not in err
