"""Texts from outside as pages show them."""

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from extension_kit.event_log.texts import STATES, known_state, moment, one_line, redacted, several_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("two\nlines\tand more", "two lines and more"),
        ("a\x00b\x1b[31mc", "a b [31mc"),
        ("user\u202egnp.exe", "user gnp.exe"),
        ("\u2066a\u2069", "a"),
        (42, "42"),
        ("x" * 81, "x" * 79 + "…"),
        ("x" * 1_000_000, "x" * 79 + "…"),
    ],
)
def test_a_line_has_no_control_characters_and_a_length(text, shown):
    assert one_line(text) == shown


def test_several_lines_keep_their_breaks_and_show_what_turns_the_direction():
    assert several_lines("a\n\tb\u202ec\x1b\r") == "a\n\tb\\u202ec\\x1b\\r"


def test_moments_are_in_utc():
    assert moment(datetime(2026, 11, 21, 12, 30, 5, tzinfo=timezone(timedelta(hours=2)))) == "2026-11-21 10:30:05"


def test_moments_at_the_end_of_time_stay_as_they_are():
    late = datetime.max.replace(microsecond=0, tzinfo=timezone(-timedelta(hours=2)))
    assert moment(late) == "9999-12-31 23:59:59-02:00"


def test_errors_are_redacted_and_cut():
    assert redacted("GET https://h/?token=hush failed") == "GET https://h/?token=*** failed"
    assert len(redacted("x" * 1_000_000)) == 100_000


def test_every_known_state_has_a_colour_and_no_other_word_gets_a_class():
    style = (Path(__file__).parents[3] / "extension_kit/event_log/static/event-log.css").read_text()
    assert {state for state in STATES if f"\n.{state},\n" not in style and f"\n.{state} {{" not in style} == set()
    assert [known_state(word) for word in ("failed", "no end", '"><b>', "")] == ["failed", "", "", ""]
