"""Values of secret keys are masked in objects and texts, and nothing else is."""

import pytest

from extension_kit.settings.declare import read_settings
from extensions.eventhos.masking import masked
from extensions.eventhos.settings import EventhosSettings

NAMES = ("password", "api.key", "schlüssel", "$x")


class TestSettings:
    @pytest.mark.parametrize(
        ("text", "names"),
        [
            ("password", ("password",)),
            (" Password , ,TOKEN,, api key ,", ("password", "token", "api key")),
            ("", ()),
            (" , ", ()),
        ],
    )
    def test_blanks_and_letter_cases_do_not_matter(self, monkeypatch, text, names):
        monkeypatch.setenv("EXTENSION_EVENTHOS_MASKED", text)
        assert read_settings(EventhosSettings).masked == names

    @pytest.mark.parametrize("value", [{"password": "a", "url": "/?password=b"}, ["/?password=b"], "password=b", None])
    def test_without_keys_nothing_changes(self, value):
        assert masked(value, ()) == value


class TestObjects:
    def test_at_every_depth(self):
        value = {"a": [{"password": "x"}, [[{"b": {"Password": ["x", "y"]}}]]], "PASSWORD": None}
        assert masked(value, NAMES) == {
            "a": [{"password": "****"}, [[{"b": {"Password": "****"}}]]],
            "PASSWORD": "****",
        }

    def test_names_of_headers_in_any_case(self):
        headers = {"API.Key": "x", "Schlüssel": "x", "SCHLÜSSEL": "x", "Accept": "*/*"}
        assert masked(headers, NAMES) == {"API.Key": "****", "Schlüssel": "****", "SCHLÜSSEL": "****", "Accept": "*/*"}

    def test_the_value_itself_stays_as_it_is(self):
        value = {"a": [{"password": "x"}]}
        masked(value, NAMES)
        assert value == {"a": [{"password": "x"}]}

    @pytest.mark.parametrize(
        "value", [{"passwords": "x", "my-password": 1, "api_key": True}, [1, 1.5, None, False], "", {}, []]
    )
    def test_unknown_keys_change_nothing(self, value):
        assert masked(value, NAMES) == value

    def test_the_deepest_value_that_can_be_stored(self):
        value = {"password": "x"}
        for _ in range(250):
            value = {"a": value}
        assert "x" not in str(masked(value, NAMES))


class TestTexts:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("/a?password=x", "/a?password=****"),
            ("/a?b=1&PassWord=x&c=2", "/a?b=1&PassWord=****&c=2"),
            ("/a?password=x#end", "/a?password=****#end"),
            ("/a?password=", "/a?password=****"),
            ("/a?password=x&password=y", "/a?password=****&password=****"),
            ("/a?b=1;password=x", "/a?b=1;password=****"),
            ("see password=x there", "see password=**** there"),
            ("my-password=x", "my-password=****"),
            ("user[password]=x&list[password][]=y", "user[password]=****&list[password][]=****"),
            ("/?api.key=x&$x=y", "/?api.key=****&$x=****"),
        ],
    )
    def test_values_in_urls(self, text, expected):
        assert masked(text, NAMES) == expected
        assert masked({"a": [text]}, NAMES) == {"a": [expected]}

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("/?p%61ssword=x", "/?p%61ssword=****"),
            ("/?%70%41%73%73%77%6F%72%64=x&a=b", "/?%70%41%73%73%77%6F%72%64=****&a=b"),
            ("/?user%5Bpassword%5d=x", "/?user%5Bpassword%5d=****"),
            ("/?schl%C3%BCssel=x&SCHL%c3%9cSSEL=y", "/?schl%C3%BCssel=****&SCHL%c3%9cSSEL=****"),
            ("/?next=http%3A%2F%2Fa%3Fpassword%3Dx&b=1", "/?next=http%3A%2F%2Fa%3Fpassword%3D****&b=1"),
        ],
    )
    def test_percent_encoded_keys(self, text, expected):
        assert masked(text, NAMES) == expected

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ('{"password": "x", "a": 1}', '{"password": "****", "a": 1}'),
            ('{"Password":"x \\" y"}', '{"Password":"****"}'),
            ('{"a": {"password" : 12}}', '{"a": {"password" : "****"}}'),
            ('{"password": "cut of', '{"password": "****"'),
        ],
    )
    def test_json_within_texts(self, text, expected):
        assert masked(text, NAMES) == expected

    @pytest.mark.parametrize(
        "text",
        ["/?passwords=x", "/?mypassword=x", "/?apikey=x", "password", "/password?a=b", '{"passwords": "x"}', "="],
    )
    def test_unknown_keys_change_nothing(self, text):
        assert masked(text, NAMES) == text
