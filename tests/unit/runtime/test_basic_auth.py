"""The header of a client carries the user name and the password, or the client is not let in."""

from base64 import b64encode

import pytest

from extension_kit.protocol import BasicCredentials


def header(text, scheme="Basic"):
    return f"{scheme} {b64encode(text.encode()).decode()}"


@pytest.mark.parametrize("password", ["secret", "a:b", "pässwörd", ""])
def test_the_credentials_are_admitted(password):
    credentials = BasicCredentials("anna", password)
    for scheme in ("Basic", "basic", "BASIC"):
        assert credentials.admit(header(f"anna:{password}", scheme))


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Basic",
        "Basic !!!",
        "Basic YQ",  # padding is missing
        "Basic \u00e4",
        header("anna:secret", "Bearer"),
        header("anna:Secret"),
        header("anna:secret "),
        header("anna"),
        header("ben:secret"),
    ],
)
def test_anything_else_is_not(authorization):
    assert BasicCredentials("anna", "secret").admit(authorization) is False
