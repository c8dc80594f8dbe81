import gzip
import json

import pytest

from extension_kit.events.answers import Answer, compressed, problem

LARGE = Answer(200, b"x" * 2000)


def headers(answer):
    return dict(answer.headers)


@pytest.mark.parametrize(
    ("accept", "is_compressed"),
    [
        ("gzip", True),
        ("gzip, deflate, br", True),
        ("br;q=1.0, gzip;q=0.8, *;q=0.1", True),
        ("*", True),
        ("GZIP", True),
        ("gzip; q=0.001", True),
        ("", False),
        ("identity", False),
        ("br", False),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("gzip;q=0, *", False),
        ("*;q=0", False),
    ],
)
def test_compression_is_negotiated(accept, is_compressed):
    answer = compressed(LARGE, accept)
    assert headers(answer)["Vary"] == "Accept-Encoding"
    if is_compressed:
        assert headers(answer)["Content-Encoding"] == "gzip"
        assert gzip.decompress(answer.body) == LARGE.body
    else:
        assert answer.body == LARGE.body
        assert "Content-Encoding" not in headers(answer)


def test_small_answers_are_left_alone():
    small = Answer(200, b"x" * 1023)
    assert compressed(small, "gzip") is small


def test_other_headers_stay():
    answer = compressed(LARGE._replace(headers=(("ETag", '"a"'),)), "gzip")
    assert headers(answer)["ETag"] == '"a"'


def test_a_problem_names_only_what_there_is():
    assert json.loads(problem(400, "Bad").body) == {"title": "Bad"}
    full = problem(422, "Bad", "Because", errors=[{"pointer": "/id", "message": "is required"}])
    assert json.loads(full.body) == {
        "title": "Bad",
        "detail": "Because",
        "errors": [{"pointer": "/id", "message": "is required"}],
    }
    assert full.status == 422
    assert full.content_type == "application/json"
