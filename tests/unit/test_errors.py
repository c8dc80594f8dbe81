"""What the kit's exceptions say, in the log and with a delivery."""

from datetime import timedelta

import pytest

from extension_kit import GiveUp, RetryLater
from extension_kit.errors import ExtensionKitError, HandlerFileError, SettingError, StoreUnavailable


class Undescribed(ExtensionKitError):
    pass


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (GiveUp("nobody is on call"), "nobody is on call"),
        (GiveUp(), "the function gave up, without a reason"),
        (RetryLater(60), "the function asked to be run again in 60 s"),
        (RetryLater(0.5, "not yet"), "not yet"),
        (StoreUnavailable(), "The database cannot be used at the moment."),
        (HandlerFileError(), "A handler file or module cannot be loaded."),
        (SettingError("PORT is 'x'"), "PORT is 'x'"),
        (Undescribed(), "Undescribed"),
    ],
)
def test_it_is_one_line(error, text):
    assert str(error) == text


@pytest.mark.parametrize("seconds", ["60", None, timedelta(minutes=1), True, float("nan"), "not yet"])
def test_a_wait_that_is_no_number_is_refused_in_words(seconds):
    with pytest.raises(TypeError, match=r"takes a number of seconds, such as RetryLater\(60\), not "):
        RetryLater(seconds)
