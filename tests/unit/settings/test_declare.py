"""Settings of one's own: how they are declared, and what is read from the environment."""

import dataclasses
import math
import os
from pathlib import Path
from typing import Literal

import pytest

from extension_kit.errors import SettingError
from extension_kit.settings.declare import (
    IP_ADDRESS,
    PATHS,
    SOCKET_PATH,
    TEXT,
    TRUE_OR_FALSE,
    Kind,
    one_of,
    read_settings,
    seconds,
    setting,
    whole_number,
)


@dataclasses.dataclass(frozen=True)
class PagerSettings:
    url: str = setting("PAGER_URL", "http://localhost", TEXT, "Where pages go.")
    retries: int = setting("PAGER_RETRIES", 3, whole_number(0, 10), "How often a page is tried again.")
    urgency: Literal["low", "high"] = setting("PAGER_URGENCY", "high", one_of("low", "high"), "How loud it is.")
    token: str = setting("PAGER_TOKEN", "", TEXT, "The token.", secret=True)
    pin: int = setting("PAGER_PIN", 0, whole_number(0, 9999), "The PIN.", secret=True)


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in os.environ:
        if variable.startswith("PAGER_"):
            monkeypatch.delenv(variable)


def test_defaults() -> None:
    assert read_settings(PagerSettings) == PagerSettings("http://localhost", 3, "high", "", 0)


def test_values_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAGER_URL", "http://pager")
    monkeypatch.setenv("PAGER_RETRIES", "0")
    monkeypatch.setenv("PAGER_URGENCY", "Low")

    assert read_settings(PagerSettings) == PagerSettings("http://pager", 0, "low")


def test_an_empty_variable_is_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAGER_RETRIES", "")
    monkeypatch.setenv("PAGER_URL", "\n")
    monkeypatch.setenv("PAGER_TOKEN_FILE", "")

    assert read_settings(PagerSettings) == PagerSettings()


@pytest.mark.parametrize(
    ("content", "token"), [("s3cret\n", "s3cret"), ("s3cret\r\n", "s3cret"), (" a b ", " a b "), ("ünï", "ünï")]
)
def test_a_value_may_come_from_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str, token: str
) -> None:
    (tmp_path / "token").write_bytes(content.encode())
    monkeypatch.setenv("PAGER_TOKEN_FILE", str(tmp_path / "token"))

    assert read_settings(PagerSettings).token == token


def test_a_line_break_at_the_end_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAGER_TOKEN", "s3cret\n")

    assert read_settings(PagerSettings).token == "s3cret"


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.write_bytes(b"\xff\xfe\x00"), lambda path: None])
def test_a_file_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, make) -> None:
    make(tmp_path / "token")
    monkeypatch.setenv("PAGER_TOKEN_FILE", str(tmp_path / "token"))

    with pytest.raises(SettingError) as refused:
        read_settings(PagerSettings)

    assert str(refused.value) == f'PAGER_TOKEN_FILE is "{tmp_path}/token": the path of a readable text file is allowed'


def test_a_value_and_a_file_contradict_each_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PAGER_TOKEN", "one")
    monkeypatch.setenv("PAGER_TOKEN_FILE", str(tmp_path / "other"))

    with pytest.raises(SettingError) as refused:
        read_settings(PagerSettings)

    assert str(refused.value) == "PAGER_TOKEN and PAGER_TOKEN_FILE are both set: one of them is allowed"


def test_every_bad_value_is_named_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAGER_RETRIES", "many\ntimes")
    monkeypatch.setenv("PAGER_URGENCY", "x" * 1000)

    with pytest.raises(SettingError) as refused:
        read_settings(PagerSettings)

    assert str(refused.value) == (
        'PAGER_RETRIES is "many\\ntimes": a whole number from 0 to 10 is allowed; '
        f'PAGER_URGENCY is "{"x" * 100}...": low or high is allowed'
    )


def test_a_secret_is_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "hush" not in repr(PagerSettings(token="hush"))

    monkeypatch.setenv("PAGER_PIN", "hush")
    with pytest.raises(SettingError) as refused:
        read_settings(PagerSettings)

    assert str(refused.value) == "PAGER_PIN is set to something else: a whole number from 0 to 9999 is allowed"
    assert refused.value.__context__ is None  # a traceback would show its text


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (whole_number(0, 9), "0", 0),
        (whole_number(0, 9), " 9 ", 9),
        (seconds(0.5, 9), "0.5", 0.5),
        (seconds(0.5, 9), "9", 9.0),
        (one_of("info", "warn", warning="warn"), "INFO", "info"),
        (one_of("info", "warn", warning="warn"), "Warning", "warn"),
        (TRUE_OR_FALSE, "true", True),
        (TRUE_OR_FALSE, "FALSE", False),
        (IP_ADDRESS, "127.0.0.1", "127.0.0.1"),
        (IP_ADDRESS, "::", "::"),
        (SOCKET_PATH, "/run/" + "x" * 102, "/run/" + "x" * 102),
        (PATHS, "/a", ("/a",)),
        (PATHS, "/a, /b c ,,", ("/a", "/b c")),
    ],
)
def test_what_is_allowed(kind: Kind[object], text: str, value: object) -> None:
    assert kind.parse(text) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (whole_number(0, 9), "-1"),
        (whole_number(0, 9), "10"),
        (whole_number(0, 9), "1.5"),
        (whole_number(0, 9), "0x1"),
        (whole_number(0, 9), "9" * 10_000),
        (seconds(0.5, 9), "0.4"),
        (seconds(0.5, 9), "9.1"),
        (seconds(0.5, 9), "nan"),
        (seconds(0, math.inf), "nan"),
        (seconds(0.5, 9), "inf"),
        (seconds(0.5, 9), "5s"),
        (one_of("info", "warn"), "warning"),
        (TRUE_OR_FALSE, "yes"),
        (IP_ADDRESS, "localhost"),
        (IP_ADDRESS, "127.0.0.1:80"),
        (SOCKET_PATH, "/run/" + "x" * 103),
        (SOCKET_PATH, "/run/" + "ü" * 52),
    ],
)
def test_what_is_not_allowed(kind: Kind[object], text: str) -> None:
    with pytest.raises(ValueError):
        kind.parse(text)
