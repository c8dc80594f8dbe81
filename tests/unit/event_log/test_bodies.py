"""Bodies as pages show them and as they are downloaded."""

import json

from extension_kit.event_log.bodies import show_body, whole_body

SECRETS = {"eventName": "a", "list": [{"deep": {"apiKey": "hush"}}], "url": "https://u:hush@h/?sig=hush&page=2"}


def test_secrets_are_hidden_at_every_depth():
    shown = show_body(json.dumps(SECRETS).encode(), is_raw=False)

    assert json.loads(shown.text) == {
        "eventName": "a",
        "list": [{"deep": {"apiKey": "***"}}],
        "url": "https://***@h/?sig=***&page=2",
    }
    assert not shown.is_cut
    assert not shown.is_raw


def test_secrets_far_down_are_not_shown():
    deep = {"password": "hush"}
    for _ in range(900):
        deep = [deep]
    for is_whole in (False, True):
        body = json.dumps(deep).encode()
        assert "hush" not in (
            whole_body(body, is_raw=False).decode() if is_whole else show_body(body, is_raw=False).text
        )


def test_a_body_may_be_shown_as_it_was_sent():
    body = b'{"a":1,   "token": "hush", "b": "\xff"}'

    shown = show_body(body, is_raw=True)

    assert shown.text == '{"a":1,   "token": "hush", "b": "\ufffd"}'
    assert shown.is_raw
    assert whole_body(body, is_raw=True) == body


def test_a_text_that_is_no_json_is_redacted_too():
    assert show_body(b"password=hush&a=1", is_raw=False).text == "password=***&a=1"


def test_a_secret_where_a_text_is_cut_is_hidden():
    text = f"{'x' * 19_985} https://u:{'hush' * 20}@h/{'x' * 80_000}"

    assert "hush" not in show_body(text.encode(), is_raw=False).text


def test_a_large_body_is_cut_and_downloaded_whole():
    body = json.dumps({"items": [{"n": number, "token": "hush"} for number in range(200_000)]}).encode()

    shown = show_body(body, is_raw=False)

    assert shown.is_cut
    assert shown.size == len(body)
    assert len(shown.text) <= 256 * 1024
    assert "hush" not in shown.text
    whole = whole_body(body, is_raw=False)
    assert len(json.loads(whole)["items"]) == 200_000
    assert b"hush" not in whole


def test_a_long_text_is_cut():
    body = json.dumps({"note": "x" * 8_000_000}).encode()

    shown = show_body(body, is_raw=False)

    assert shown.is_cut
    assert len(shown.text) < 21_000
