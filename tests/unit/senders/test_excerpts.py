"""What is kept of what receivers say."""

import socket
import ssl

import pytest

from extension_kit.senders.excerpts import excerpt, reason, secret_words


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (b"", None),
        (b" \r\n ", None),
        (b"OK", "OK"),
        (b'{"ok":\n  true}', '{"ok": true}'),
        ("Zürich ✓".encode(), "Zürich ✓"),
        (b"caf\xe9", "caf\ufffd"),
        (b"a\x1b[31mred\x07", "a [31mred"),
        (b"PNG\x00\x01", None),
        (b"x" * 5000, "x" * 1024),
        ("already text", "already text"),
    ],
)
def test_the_beginning_on_one_line(said, kept):
    assert excerpt(said, []) == kept


@pytest.mark.parametrize(
    ("said", "secrets", "kept"),
    [
        (b"bad key s3cret", ["s3cret"], "bad key ***"),
        (b"s3cret-long and s3cret", ["s3cret", "s3cret-long"], "*** and ***"),
        (b"nothing", ["", "x1"], "nothing"),
        (b"a" * 1020 + b"s3cret", ["s3cret"], "a" * 1020 + "***"),
    ],
)
def test_secrets_are_removed_before_it_is_cut(said, secrets, kept):
    assert excerpt(said, secrets) == kept


@pytest.mark.parametrize(
    ("url", "headers", "secret", "harmless"),
    [
        ("https://h.test/services/T0000/B000000X/abcdefgh12345678", {}, ["abcdefgh12345678", "B000000X"], ["h.test"]),
        ("https://h.test/hook?token=verysecret&x=1", {}, ["verysecret", "/hook"], ["token"]),
        ("https://h.test/", {"Authorization": "Bearer abc.def-123456"}, ["abc.def-123456"], ["Bearer", "/"]),
        ("https://h.test", {"X-Api-Key": "k3y!"}, ["k3y!"], ["X-Api-Key", ""]),
    ],
)
def test_what_may_be_secret_in_urls_and_headers(url, headers, secret, harmless):
    words = secret_words(url, headers)
    assert words.issuperset(secret)
    assert words.isdisjoint(harmless)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (TimeoutError("whatever"), "timed out"),
        (TimeoutError(110, "Connection timed out"), "timed out"),
        (ConnectionRefusedError(111, "Connection refused"), "Connection refused"),
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"), "TLS: failed"),
        (OSError("Server unexpectedly closed connection"), "Server unexpectedly closed connection"),
        (EOFError(), "EOFError"),
    ],
)
def test_reasons(error, words):
    assert reason(error) == words
