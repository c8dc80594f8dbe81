"""JSON as Python's own writer has it, beside the strict one."""

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extension_kit.events.foreign_json import read_foreign_json

TEXTS = st.text(st.characters(codec=None, exclude_categories=()))  # with half characters
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
DATA = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=10)


@given(DATA, st.booleans())
def test_whatever_python_writes_is_read_as_something_that_is_strict(data, is_ascii):
    body = json.dumps(data, ensure_ascii=is_ascii).encode("utf-8", "surrogatepass")
    value, repairs = read_foreign_json(body)
    assert orjson.loads(orjson.dumps(value)) == value
    try:
        strict = orjson.loads(body)
    except orjson.JSONDecodeError:
        assert repairs
    else:
        assert (value, repairs) == (strict, ())


@pytest.mark.parametrize("body", [b"", b"nan", b"NaN,", b'"\xff', b'"\xff"', b"\xef\xbb\xbf", b"[" * 50_000 + b"NaN"])
def test_what_is_no_json_is_refused(body):
    with pytest.raises(ValueError):
        read_foreign_json(body)
