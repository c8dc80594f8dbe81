"""Secrets that are missing or too short are named in one line that says how to make them."""

import pytest

from extension_kit.errors import SettingError
from extensions.eventhos.settings import EventhosSettings
from tests.extensions.eventhos.api import CRYPTO_KEY, JWT_SECRET, serve
from tests.extensions.eventhos.applying import url_of
from tests.extensions.eventhos.served import EVENTHOS, VARIABLES
from tests.support.paths import KIT
from tests.support.servers import run_server

COMMAND = "python3 -c 'import secrets; print(secrets.token_hex(32))'"
CRYPTO, JWT = "EXTENSION_EVENTHOS_CRYPTO_KEY", "EXTENSION_EVENTHOS_JWT_SECRET"


@pytest.mark.parametrize("shared_database", ["postgresql"], indirect=True)
def test_on_postgresql_all_that_are_missing_are_in_one_line(database, tmp_path):
    environment = {**VARIABLES, CRYPTO: "", JWT: "", "EXTENSION_DATABASE_URL": url_of(database)}
    with run_server([KIT, "serve", EVENTHOS, "--no-worker"], tmp_path / "log", **environment) as server:
        assert server.process.wait(30) == 2
        line = server.log.splitlines()[-1]
    assert line.startswith(f"extension-kit: {CRYPTO} and {JWT} are not set")
    assert COMMAND in line


def test_those_that_are_too_short_say_how_long_they_are_to_be_and_are_not_shown(database):
    with pytest.raises(SettingError) as raised:
        serve(database, **{CRYPTO: f"{CRYPTO_KEY},tooshort", JWT: "tooshort"})
    for variable in (CRYPTO, JWT):
        too_short = f"{variable} cannot be used: it has fewer than 32 bytes. Make one by  {COMMAND}"
        assert too_short in str(raised.value)
    assert "tooshort" not in str(raised.value)
    assert CRYPTO_KEY not in str(raised.value)


def test_only_commas_are_no_key(database):
    with pytest.raises(SettingError, match=f"^{CRYPTO} cannot be used: it has no secret"):
        serve(database, **{CRYPTO: " , "})


def test_several_keys_are_read(database):
    service = serve(database, **{CRYPTO: f" {JWT_SECRET} , {CRYPTO_KEY},"})
    assert service.protocols[0].settings == EventhosSettings(
        crypto_key=(JWT_SECRET, CRYPTO_KEY),
        jwt_secret=JWT_SECRET,
        admin_user="admin",
        admin_password="the administrator's password",
    )
    service.runtime.close(5)
