import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extension_kit import RegistrationError
from extension_kit.events.patterns import MAX_INNER_WILDCARDS, MAX_PARTS, PatternIndex, check_pattern


def found(patterns, name):
    index = PatternIndex()
    for pattern in patterns:
        index.add([pattern], pattern)
    return list(index.match(name))


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("a.b", "a.b", True),
        ("a.b", "a.b.c", False),
        ("a.b.c", "a.b", False),
        ("a.b", "A.b", False),
        ("*", "a", True),
        ("*", "a.b.c", True),
        ("a.*", "a.b", True),
        ("a.*", "a.b.c", True),
        ("a.*", "a", False),
        ("a.*", "b.a", False),
        ("a.*.*", "a.b", False),
        ("a.*.*", "a.b.c.d", True),
        ("a.*.c", "a.b.c", True),
        ("a.*.c", "a.b.b.c", False),
        ("*.c", "a.c", True),
        ("*.c", "c", False),
        ("experiment.execution.*", "experiment.execution.step-started", True),
        ("*", "", False),
        ("a.*", "a.*", True),
    ],
)
def test_matching(pattern, name, expected):
    assert found([pattern], name) == ([pattern] if expected else [])


def test_values_come_in_the_order_in_which_they_were_added():
    assert found(["*", "a.b", "a.*", "b", "*.b"], "a.b") == ["*", "a.b", "a.*", "*.b"]


def test_a_value_with_several_matching_patterns_is_found_once():
    index = PatternIndex()
    index.add(["a.*", "a.b", "*"], "one")
    assert index.match("a.b") == ("one",)


def test_what_is_added_later_is_found_for_names_seen_before():
    index = PatternIndex()
    assert index.match("a") == ()
    index.add(["a"], 1)
    assert index.match("a") == (1,)


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        ".",
        "a.",
        ".a",
        "a..b",
        "a b",
        "a\n",
        "step-*",
        "a.*b",
        "**",
        "a.**",
        None,
        5,
        ["a"],
        "a" * 257,
        "a." * 16 + "a",
    ],
)
def test_what_is_no_pattern_is_refused(pattern):
    with pytest.raises(RegistrationError):
        check_pattern(pattern)


def test_a_refused_pattern_leaves_the_index_as_it_was():
    index = PatternIndex()
    with pytest.raises(RegistrationError):
        index.add(["a", "b..c"], 1)
    assert index.match("a") == ()


def test_inner_wildcards_are_limited():
    assert check_pattern(".".join(["*"] * MAX_INNER_WILDCARDS + ["a"]))
    with pytest.raises(RegistrationError, match="before its last part"):
        check_pattern(".".join(["*"] * (MAX_INNER_WILDCARDS + 1) + ["a"]))


part = st.text(string.ascii_lowercase[:3], min_size=1, max_size=2)
names = st.lists(part, min_size=1, max_size=5).map(".".join)
patterns = st.lists(st.one_of(part, st.just("*")), min_size=1, max_size=4).map(".".join)


@given(st.lists(patterns, max_size=12), names)
def test_the_index_says_what_a_regular_expression_says(many, name):
    many = list(dict.fromkeys(many))

    def matches(pattern):
        *inner, last = (r"[^.]+" if part == "*" else re.escape(part) for part in pattern.split("."))
        last = r".+" if pattern.endswith("*") else last
        return re.fullmatch(r"\.".join([*inner, last]), name) is not None

    assert found(many, name) == [pattern for pattern in many if matches(pattern)]


def test_memory_is_bounded_whatever_names_come():
    index = PatternIndex()
    index.add(["*"], 1)
    for number in range(10_000):
        index.match(f"name-{number}")
    assert len(index._seen) <= PatternIndex._REMEMBERED
    index.match("x" * 1_000_000)
    assert max(map(len, index._seen)) < 1000


def test_the_worst_patterns_cannot_make_a_look_up_long():
    """Counted in visited nodes, not in time: every choice of * in the allowed number of places exists."""
    from itertools import combinations

    index = PatternIndex()
    length = MAX_PARTS
    for count in range(MAX_INNER_WILDCARDS + 1):
        for places in combinations(range(length - 1), count):
            index.add([".".join("*" if place in places else "a" for place in range(length - 1)) + ".b"], places)
    visited = 0

    class Counting(dict):
        def get(self, key, default=None):
            nonlocal visited
            visited += 1
            return super().get(key, default)

    def count_children(node):
        for child in node.children.values():
            count_children(child)
        node.children = Counting(node.children)

    count_children(index._root)
    assert index.match(".".join(["a"] * length)) == ()
    assert visited < 10_000
