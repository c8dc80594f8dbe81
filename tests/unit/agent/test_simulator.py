import gzip
import json
import threading
from itertools import count

import pytest

from extension_kit.agent import Agent, Report
from extension_kit.errors import ConfigurationError


def listener(path="/events/all", *names, **more):
    return {"method": "POST", "path": path, "listenTo": list(names) or ["*"], **more}


def make_events(number, name="experiment.execution.created"):
    return [{"id": f"id-{index}", "eventName": name} for index in range(number)]


def play(extension, events, *, path="", **options):
    return Agent(extension.url + path, **{"fast": True, **options}).play(events)


def ids(requests):
    return [request.event["id"] for request in requests]


def test_every_listener_gets_the_events_it_wants_in_order(extension):
    created, failed = "experiment.execution.created", "experiment.execution.failed"
    extension.listen(listener("/all"), listener("/ends", failed), listener("/never", "killswitch.engaged"))
    events = [
        {"id": "1", "eventName": created, "experimentExecution": {"executionId": 7, "name": "Ünïcode"}},
        {"id": "2", "eventName": failed},
        {"id": "3", "eventName": created},
    ]
    report = play(extension, events)
    assert [(request.path, request.event) for request in extension.received] == [
        ("/all", events[0]),
        ("/all", events[1]),
        ("/ends", events[1]),
        ("/all", events[2]),
    ]
    assert report.ok
    assert (report.events, report.unwanted, report.sent, report.accepted) == (3, 0, 4, 4)
    assert report.tallies["POST /all"].sent == 3
    assert report.tallies["POST /ends"].accepted == 1
    assert "POST /never" not in report.tallies


def test_requests_look_like_an_agents(extension):
    play(extension, make_events(1), timeout=2.5)
    index, event = extension.requests
    assert (index.method, index.path) == ("GET", "/")
    assert (event.method, event.path) == ("POST", "/events/all")
    assert event.headers["content-type"] == "application/json"
    assert event.headers["accept"] == "application/json"
    assert event.headers["request-timeout"] == index.headers["request-timeout"] == "2.5"
    assert "authorization" not in event.headers


def test_events_nobody_wants_are_counted(extension):
    extension.listen(listener("/ends", "experiment.execution.failed"))
    report = play(extension, make_events(3))
    assert (report.events, report.unwanted, report.sent) == (3, 3, 0)
    assert report.ok


def test_events_without_a_name_go_to_those_who_want_all(extension):
    extension.listen(listener("/all"), listener("/some", "user.invited"))
    play(extension, [{}, {"eventName": None}, {"eventName": ["user.invited"]}])
    assert [request.path for request in extension.received] == ["/all"] * 3


@pytest.mark.parametrize(
    ("role", "paths"), [("leader", ["/any", "/leader"]), ("follower", ["/any"]), ("aws", ["/any", "/aws"])]
)
def test_restrict_to(extension, role, paths):
    extension.listen(
        listener("/any", restrictTo="any"), listener("/leader", restrictTo="leader"), listener("/aws", restrictTo="aws")
    )
    play(extension, make_events(1), role=role)
    assert [request.path for request in extension.received] == paths


@pytest.mark.parametrize(("limit", "batches"), [(1, 5), (2, 3), (5, 1), (6, 1)])
def test_a_limited_number_of_events_is_sent_per_interval(extension, limit, batches):
    extension.listen(listener("/all"), listener("/created", "experiment.execution.created"), listener("/x", "x"))
    report = play(extension, make_events(5), fast=False, limit=limit, interval=0.05)
    assert ids(extension.received[::2]) == [event["id"] for event in make_events(5)]
    methods = "".join(request.method[0] for request in extension.requests)
    assert max(len(batch) for batch in methods.split("G")) <= 2 * limit
    assert methods.count("G") >= batches  # more where sending alone takes longer than an interval
    assert report.intervals == methods.count("G")


def test_events_that_nobody_wants_count_for_the_limit(extension):
    extension.listen(listener("/ends", "experiment.execution.failed"))
    play(extension, make_events(5), fast=False, limit=2, interval=0.01)
    assert len(extension.asked) >= 3


def test_fast_knows_no_limit(extension):
    play(extension, make_events(120), fast=True, limit=2, interval=3600)
    assert len(extension.asked) == 1
    assert ids(extension.received) == [event["id"] for event in make_events(120)]


def test_fast_asks_again_when_an_interval_is_over(extension):
    play(extension, make_events(3), fast=True, interval=1e-9)
    assert [request.method for request in extension.requests] == ["GET"] + ["GET", "POST"] * 3


@pytest.mark.parametrize("etag", ['"0123"', "abc-1", 'W/"5"'])
def test_the_registration_document_is_asked_for_with_the_etag_as_it_was_given(extension, etag):
    extension.etag = etag
    report = play(extension, make_events(3), fast=False, limit=1, interval=0.01)
    assert [request.headers.get("if-none-match") for request in extension.asked] == [None, etag, etag]
    assert report.ok
    assert report.accepted == 3  # what 304 confirms stays known


def test_without_an_etag_nothing_is_conditional(extension):
    play(extension, make_events(2), fast=False, limit=1, interval=0.01)
    assert [request.headers.get("if-none-match") for request in extension.asked] == [None, None]


def test_a_changed_registration_document_counts_from_the_next_interval(extension):
    extension.etag = "1"

    def change(request):
        extension.listen(listener("/new"))
        extension.etag = "2"
        return 200, b"{}"

    extension.answer = change
    play(extension, make_events(3), fast=False, limit=1, interval=0.01)
    assert [request.path for request in extension.received] == ["/events/all", "/new", "/new"]
    extension.etag = "3"
    extension.listen(listener("/first"))
    play(extension, make_events(3), interval=3600)
    assert [request.path for request in extension.received[3:]] == ["/first"] * 3


def test_a_registration_document_that_cannot_be_had_again_stays_in_force(extension):
    extension.index_reply = lambda number: (500, b"oops") if number > 1 else None
    report = play(extension, make_events(3), fast=False, limit=1, interval=0.01)
    assert report.accepted == 3
    assert report.problems == [f"{extension.url} gives no registration document: 500 oops"]
    assert not report.ok


@pytest.mark.parametrize(
    ("path", "index", "event"),
    [
        ("", "/", "/events/all"),
        ("/", "/", "/events/all"),
        ("/some-path", "/some-path", "/some-path/events/all"),
        ("/some-path/", "/some-path/", "/some-path/events/all"),
    ],
)
def test_paths_are_relative_to_the_registered_url(extension, path, index, event):
    play(extension, make_events(1), path=path)
    assert [request.path for request in extension.requests] == [index, event]


def test_the_method_is_the_listeners(extension):
    extension.listen(listener("/put") | {"method": "put"}, listener("/delete") | {"method": "DELETE"})
    play(extension, make_events(1))
    assert [(request.method, request.path) for request in extension.received] == [
        ("PUT", "/put"),
        ("DELETE", "/delete"),
    ]
    assert all(request.event["id"] == "id-0" for request in extension.received)


def test_redeliver_sends_every_event_twice(extension):
    extension.listen(listener("/a"), listener("/b"))
    report = play(extension, make_events(2), redeliver=True)
    assert [(request.path, request.event["id"]) for request in extension.received] == [
        *[("/a", "id-0"), ("/b", "id-0")] * 2,
        *[("/a", "id-1"), ("/b", "id-1")] * 2,
    ]
    assert (report.events, report.sent) == (2, 8)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ((422, b'{"title": "No", "detail": "1 problem.", "errors": [{"pointer": "/id", "message": "missing"}]}'),
         "No. 1 problem. /id missing"),
        ((422, b'{"title": "No", "errors": [{"pointer": "", "message": "wrong"}]}'), "No. / wrong"),
        ((500, b'{"title": "The event listener failed", "detail": null}'), "The event listener failed"),
        ((503, b"Timeout"), "Timeout"),
        ((400, b'["a list"]'), '["a list"]'),
        ((400, b'{"errors": [1]}'), '{"errors": [1]}'),
        ((400, b"two\nlines\x1b[31m\x00 and \xff"), "two lines [31m and \ufffd"),
        ((413, b"x" * 1000), "x" * 500 + " ..."),
        ((302, b"", {"Location": "/elsewhere"}), ""),
        ((204, b""), ""),
        ((201, b"{}"), ""),
    ],
)  # fmt: skip
def test_everything_but_200_is_a_refusal_with_the_extensions_own_words(extension, reply, reason):
    extension.answer = lambda request: reply
    report = play(extension, make_events(1))
    (refusal,) = report.refusals
    assert refusal == ("experiment.execution.created", "id-0", "POST /events/all", str(reply[0]), reason)
    assert not report.ok
    assert report.tallies["POST /events/all"].refused == {str(reply[0]): 1}
    assert len(extension.received) == 1


def test_a_refused_event_keeps_none_from_the_others(extension):
    extension.answer = lambda request: (500, b"{}") if request.event["id"] == "id-1" else (200, b"{}")
    report = play(extension, make_events(3))
    assert ids(extension.received) == ["id-0", "id-1", "id-2"]
    assert (report.sent, report.accepted) == (3, 2)


def test_the_first_refusals_are_kept_and_all_are_counted(extension):
    statuses = count(500)
    extension.answer = lambda request: (next(statuses), b"")
    report = play(extension, make_events(8))
    assert [refusal.outcome for refusal in report.refusals] == ["500", "501", "502", "503", "504"]
    assert report.tallies["POST /events/all"].refused.total() == 8


def test_a_connection_closed_without_an_answer_is_a_refusal(extension):
    extension.answer = lambda request: None
    report = play(extension, make_events(2))
    assert report.tallies["POST /events/all"].refused == {"no answer": 2}
    assert "closed" in report.refusals[0].reason
    assert len(extension.received) == 2  # not tried again


def test_an_answer_that_takes_too_long_is_a_refusal(extension):
    release = threading.Event()
    extension.answer = lambda request: (200, b"{}") if release.wait(30) else None
    report = play(extension, make_events(1), timeout=0.05)
    release.set()
    assert report.refusals[0].outcome == "no answer"
    assert report.refusals[0].reason == "no answer within 1.05 seconds"
    assert report.tallies["POST /events/all"].percentile(50) is None


def test_an_extension_that_is_not_there_is_one_problem_and_no_event_is_asked_for(extension):
    extension.server.shutdown()
    extension.server.server_close()
    events = iter(make_events(2))
    report = play(extension, events)
    assert report.problems == [f"{extension.url} does not answer: Connection refused"]
    assert not report.ok
    assert len(list(events)) == 2


def test_an_unknown_host_is_a_problem():
    report = Agent("http://no-such-host.invalid:8080").play([])
    assert report.problems[0].startswith("http://no-such-host.invalid:8080 does not answer: ")


def test_waiting_for_an_extension_that_is_starting(extension):
    extension.index_reply = lambda number: (503, b"starting") if number < 4 else None
    report = play(extension, make_events(1), wait=60)
    assert report.ok
    assert len(extension.asked) == 4
    assert report.intervals == 1


def test_without_waiting_the_first_answer_counts(extension):
    extension.index_reply = lambda number: (503, b"starting") if number < 4 else None
    report = play(extension, make_events(1))
    assert report.problems == [f"{extension.url} gives no registration document: 503 starting"]
    assert extension.received == []


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (b"<html>", "the registration document is not JSON"),
        ({"eventListeners": [{"path": "/x", "listenTo": ["*"]}]}, "eventListeners[0].method must be"),
        ({"eventListeners": [listener("/x") | {"listenTo": "*"}]}, "eventListeners[0].listenTo must be"),
    ],
)
def test_what_is_wrong_with_the_registration_document_is_told_once(extension, document, problem):
    extension.index = document
    report = play(extension, make_events(3), fast=False, limit=1, interval=0.01)
    assert len(report.problems) == 1
    assert report.problems[0].startswith(problem)
    assert not report.ok
    assert report.unwanted == 3


@pytest.mark.parametrize("document", [{}, {"eventListeners": None}])
def test_an_extension_without_listeners_is_no_problem(extension, document):
    extension.index = document
    report = play(extension, make_events(2))
    assert report.ok
    assert report.unwanted == 2


def test_a_compressed_registration_document(extension):
    body = gzip.compress(json.dumps({"eventListeners": [listener("/packed")]}).encode())
    extension.index_reply = lambda number: (200, body, {"Content-Encoding": "gzip"})
    play(extension, make_events(1))
    assert extension.asked[0].headers["accept-encoding"] == "gzip"
    assert [request.path for request in extension.received] == ["/packed"]


def test_within_an_interval_the_connection_is_kept(extension):
    play(extension, make_events(10))
    assert len({request.connection for request in extension.requests}) == 1


def test_connections_that_the_extension_closed_between_intervals_do_no_harm(extension):
    """Servers close idle connections, and an interval is idle for long: each begins with a new connection."""
    report = play(extension, make_events(3), fast=False, limit=1, interval=0.01)
    assert report.ok
    assert len({request.connection for request in extension.requests}) == 3
    for index, event in zip(extension.asked, extension.received, strict=True):
        assert index.connection == event.connection


def test_one_event_at_a_time_unless_told_otherwise(extension):
    under_way, most = [], []
    lock = threading.Lock()

    def answer(request):
        with lock:
            under_way.append(request)
            most.append(len(under_way))
        with lock:
            under_way.remove(request)
        return 200, b"{}"

    extension.answer = answer
    play(extension, make_events(50))
    assert max(most) == 1
    assert ids(extension.received) == [event["id"] for event in make_events(50)]


def test_several_events_at_a_time(extension):
    together = threading.Barrier(4)
    extension.answer = lambda request: (200, b"{}") if together.wait(30) >= 0 else None
    report = play(extension, make_events(8), concurrency=4)
    assert report.accepted == 8


@pytest.mark.parametrize("concurrency", [1, 3])
def test_events_are_asked_for_as_they_are_sent(extension, concurrency):
    ahead = []

    def source():
        for number, event in enumerate(make_events(40)):
            ahead.append(number - len(extension.received))
            yield event

    play(extension, source(), concurrency=concurrency)
    assert max(ahead) <= concurrency


def test_what_the_source_raises_is_raised_after_the_events_before_it_were_sent(extension):
    def source():
        yield from make_events(2)
        raise ConfigurationError("line 3 is broken")

    with pytest.raises(ConfigurationError, match="line 3"):
        play(extension, source())
    assert len(extension.received) == 2


def test_a_report_can_be_looked_at_meanwhile(extension):
    report = Report()
    seen = []

    def source():
        for event in make_events(5):
            seen.append(report.events)
            yield event

    assert Agent(extension.url, fast=True).play(source(), report) is report
    assert seen == [0, 1, 2, 3, 4]


def test_an_agent_can_play_again(extension):
    extension.etag = "1"
    agent = Agent(extension.url, fast=True)
    assert agent.play(make_events(1)).accepted == 1
    assert agent.play(make_events(2)).accepted == 2
    assert [request.headers.get("if-none-match") for request in extension.asked] == [None, None]


@pytest.mark.parametrize("url", ["", "localhost:8080", "ftp://x", "http://", "http://x:99999", "http://x/?a", "unix:x"])
def test_what_is_no_url_is_refused(url):
    with pytest.raises(ConfigurationError):
        Agent(url)


def test_percentiles_are_the_nearest_answers():
    report = Report()
    for milliseconds in range(1, 201):
        report.add_accepted("POST /x", milliseconds / 1000)
    tally = report.tallies["POST /x"]
    assert [tally.percentile(percent) for percent in (50, 99, 100)] == [0.1, 0.198, 0.2]
    one = Report()
    one.add_accepted("POST /x", 3.0)
    assert one.tallies["POST /x"].percentile(50) == one.tallies["POST /x"].percentile(99) == 3.0
