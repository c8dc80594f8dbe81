"""Kinds of settings for extensions: addresses, names, names of events, files."""

from dataclasses import dataclass

import pytest

from extension_kit.errors import SettingError
from extension_kit.protocol import EVENT_NAMES, FILE, NAMES, URL, setting
from extension_kit.settings.declare import read_settings
from extension_kit.settings.readme_table import settings_table


@dataclass(frozen=True)
class DeskSettings:
    url: str = setting("EXTENSION_DESK_URL", "", URL, "Address.")
    names: tuple[str, ...] = setting("EXTENSION_DESK_NAMES", ("front", "back"), NAMES, "Names.")
    events: tuple[str, ...] = setting("EXTENSION_DESK_EVENTS", ("*",), EVENT_NAMES, "Events.")
    template: str = setting("EXTENSION_DESK_TEMPLATE", "", FILE, "Template.")


@pytest.fixture
def read(monkeypatch):
    def read(name, text):
        monkeypatch.setenv(f"EXTENSION_DESK_{name.upper()}", text)
        return getattr(read_settings(DeskSettings), name)

    return read


@pytest.mark.parametrize(
    "url",
    [
        "desk",
        "//desk",
        "ftp:desk",
        "http://",
        "http:///a",
        "http://desk:0",
        "http://desk:port",
        "http://[::",
        "http://a b",
    ],
)
def test_what_is_no_url_is_refused_and_not_shown(read, url):
    with pytest.raises(SettingError) as refused:
        read("url", url)
    written = "write http://HOST or https://HOST, with a port and a path if needed"
    assert str(refused.value) == f"EXTENSION_DESK_URL cannot be used: {written}"


@pytest.mark.parametrize("url", ["http://user@desk", "http://user:hush@desk", "https://:hush@desk/"])
def test_a_url_has_no_user_name(read, url):
    with pytest.raises(SettingError, match=r"^EXTENSION_DESK_URL cannot be used: it has a user name, which has no pl"):
        read("url", url)


def test_names_are_separated_by_commas(read):
    assert read("names", " front desk ,back,,front desk") == ("front desk", "back")


def test_names_of_events_may_be_patterns(read):
    assert read("events", "killswitch.*, experiment.execution.failed") == (
        "killswitch.*",
        "experiment.execution.failed",
    )


@pytest.mark.parametrize(("name", "allowed"), [("names", "names sep"), ("events", "names of events, or patterns such")])
def test_no_name_at_all_is_refused(read, name, allowed):
    with pytest.raises(SettingError, match=f'^EXTENSION_DESK_{name.upper()} is " ,": {allowed}'):
        read(name, " ,")


def test_a_name_that_no_event_can_have_is_refused(read):
    with pytest.raises(SettingError, match=r"^EXTENSION_DESK_EVENTS cannot be used: 'step-\*' is not an event name"):
        read("events", "step-*")


def test_a_file_can_be_read(read, tmp_path):
    (tmp_path / "template").write_text("ünï")
    assert read("template", str(tmp_path / "template")) == str(tmp_path / "template")


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00", b"a" * 1_000_001])
def test_what_is_no_text_file_is_refused(read, tmp_path, content):
    path = tmp_path / "template"
    path.mkdir() if content is None else path.write_bytes(content)
    for refused in (path, tmp_path / "missing", "/dev/zero"):
        with pytest.raises(SettingError, match=r"^EXTENSION_DESK_TEMPLATE is .*: the path of a readable text file of "):
            read("template", str(refused))


def test_defaults_are_shown_as_they_are_written():
    assert [row.default for row in settings_table(DeskSettings)] == ["", "front,back", "*", ""]
