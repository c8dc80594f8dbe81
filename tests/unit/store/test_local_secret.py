"""A generated secret is in a file beside the database, for its owner only and the same in every process."""

import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from extension_kit.errors import SettingError
from extension_kit.store.database import Database
from extension_kit.store.local_secret import local_secret, refuse_missing_secrets
from tests.support.flushes import folders_flushed

VARIABLE = "EXTENSION_DOORBELL_SECRET"


@pytest.fixture
def sqlite(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/extension.db")
    yield database
    database.dispose()


def secret_of(database):
    return local_secret(database, "doorbell", variable=VARIABLE)


def test_it_is_made_once_and_readable_by_its_owner_only(sqlite, tmp_path):
    with ThreadPoolExecutor(16) as pool:
        made = set(pool.map(lambda _: secret_of(sqlite), range(32)))
    (secret,) = made
    assert len(secret) >= 32
    assert [path.name for path in tmp_path.iterdir()] == ["extension.db.doorbell-secret"]
    assert stat.S_IMODE((tmp_path / "extension.db.doorbell-secret").stat().st_mode) == 0o600


def test_no_power_failure_loses_its_name(sqlite, tmp_path):
    with folders_flushed() as flushed:
        secret_of(sqlite)
        assert flushed == [(tmp_path, {"extension.db.doorbell-secret"})]
        secret_of(sqlite)
        assert len(flushed) == 1


def test_a_file_without_a_secret_is_named(sqlite, tmp_path):
    (tmp_path / "extension.db.doorbell-secret").write_text("short")
    with pytest.raises(SettingError, match=r"doorbell-secret holds no secret: remove it"):
        secret_of(sqlite)


def test_a_file_that_cannot_be_read_is_named_with_the_setting(sqlite, tmp_path):
    (tmp_path / "extension.db.doorbell-secret").mkdir()
    with pytest.raises(SettingError, match=rf"cannot be used: Is a directory; {VARIABLE} is taken instead"):
        secret_of(sqlite)


def test_several_machines_need_the_setting():
    database = Database("postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(SettingError, match=rf"^{VARIABLE} is not set: it is needed on PostgreSQL"):
        secret_of(database)
    with pytest.raises(SettingError) as raised:
        refuse_missing_secrets(database, {VARIABLE: "", "EXTENSION_BELL_SECRET": None, "EXTENSION_BELL_KEY": "a"})
    assert str(raised.value) == (
        f"{VARIABLE} and EXTENSION_BELL_SECRET are not set: they are needed on PostgreSQL. Make each by  python3 -c "
        "'import secrets; print(secrets.token_hex(32))'  and set it for every process"
    )
    refuse_missing_secrets(database, {VARIABLE: "a"})
    database.dispose()


def test_on_one_machine_none_is_missing(sqlite):
    refuse_missing_secrets(sqlite, {VARIABLE: ""})
