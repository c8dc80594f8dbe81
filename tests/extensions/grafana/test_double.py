"""The double of Grafana behaves as Grafana's documents and its code say."""

import json
from contextlib import closing
from http.client import HTTPConnection
from urllib.parse import urlencode, urlsplit

import pytest


@pytest.fixture
def ask(grafana):
    def ask(method, path="", body=None, token=grafana.token):
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        with closing(HTTPConnection(urlsplit(grafana.url).netloc, timeout=30)) as connection:
            connection.request(method, f"/api/annotations{path}", body and json.dumps(body), headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())

    return ask


@pytest.fixture
def add(ask):
    return lambda **body: ask("POST", body={"text": "a text", **body})


@pytest.fixture
def find(ask):
    """The numbers of the annotations that are found."""
    return lambda **query: [each["id"] for each in ask("GET", f"?{urlencode(query, doseq=True)}")[1]]


def test_who_may_what(ask, add, grafana):
    assert ask("GET", token="another")[0] == 401
    grafana.permissions.remove("annotations:create")
    assert add()[0] == 403
    assert ask("GET")[0] == 200
    assert ask("PATCH", "/7", {"text": "another"})[0] == 404


def test_tags_lose_what_is_behind_a_second_colon_and_repetitions(add, grafana):
    add(tags=["a:b:c", " a : b ", "d", "e:"])
    assert grafana.annotations[1]["tags"] == ["a:b", "d", "e"]


@pytest.mark.parametrize(
    ("tags", "status"),
    [
        (["x" * 100], 200),
        ([f"{number}{'x' * 95}" for number in range(5)], 200),
        ([f"{number}{'x' * 97}" for number in range(5)], 400),
        (["x" * 101], 500),
        (["\N{SNOWMAN}" * 100, "\N{SNOWMAN}" * 99], 400),
    ],
)
def test_tags_have_limits_in_all_and_each(add, tags, status):
    assert add(tags=tags)[0] == status


def test_an_end_before_the_start_is_exchanged_with_it(add, ask, grafana):
    add(time=20, timeEnd=10)
    add(time=20)
    ask("PATCH", "/2", {"timeEnd": 30})
    assert [(each["time"], each["timeEnd"]) for each in grafana.annotations.values()] == [(10, 20), (20, 30)]


def test_annotations_are_found_by_all_tags_in_a_window_the_latest_first(add, find):
    for number in range(1, 6):
        add(time=number * 10, timeEnd=number * 10 + 5, tags=["all", f"number:{number}", f"odd:{number % 2}"])
    assert find(tags=["all"]) == [5, 4, 3, 2, 1]
    assert find(tags=["all"], limit=2) == [5, 4]
    assert find(tags=["all", "odd:1"]) == [5, 3, 1]
    assert find(tags=["number"]) == [5, 4, 3, 2, 1]
    assert find(tags=["all", "other"]) == []
    assert find(**{"from": 25, "to": 30}) == [3, 2]
    assert find(**{"from": 26, "to": 29}) == []


def test_an_unknown_dashboard_is_refused_in_a_search_and_left_out_otherwise(add, ask, grafana):
    assert add(dashboardUID="uid-2")[0] == 200
    assert grafana.annotations[1]["dashboardUID"] is None
    assert ask("GET", "?dashboardUID=uid-2")[0] == 400
    assert ask("GET", "?dashboardUID=uid-1") == (200, [])


def test_annotations_stay_when_it_starts_again(add, find, grafana):
    add(tags=["kept"])
    grafana.stop()
    with pytest.raises(ConnectionError):
        find()
    grafana.start()
    assert find(tags=["kept"]) == [1]
