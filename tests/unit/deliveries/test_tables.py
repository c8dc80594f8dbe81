"""Texts from outside fit into columns, and different ones stay different."""

import pytest

from extension_kit.deliveries.tables import bounded


@pytest.mark.parametrize("text", ["", "a", "ä" * 255, "a\nb", "\ufffd"])
def test_a_text_that_fits_stays(text):
    assert bounded(text) == text


@pytest.mark.parametrize("text", ["a" * 256, "\U0001f600" * 10_000, "a\x00b", "\x00" * 300])
def test_one_that_does_not_is_shortened_always_to_the_same(text):
    short = bounded(text)
    assert len(short) <= 255
    assert "\x00" not in short
    assert short == bounded(text) == bounded(short)
    assert short[0] == text.replace("\x00", "\ufffd")[0]


def test_different_texts_stay_different():
    texts = ["a" * 256, "a" * 257, "a" * 255 + "b", "a" * 255 + "\x00", "a\x00", "a\ufffd", "a\x00\x00", "a"]
    assert len(set(map(bounded, texts))) == len(texts)
