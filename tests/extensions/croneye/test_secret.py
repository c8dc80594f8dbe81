"""The secret of tokens does not stand in the database."""

import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import inspect, text

from extension_kit.errors import SettingError
from extension_kit.runtime.service import Service
from extension_kit.settings.kit import Settings
from extension_kit.store.database import Database
from extension_kit.store.migrate import upgrade
from extensions.croneye import extension
from extensions.croneye.accounts import Accounts
from extensions.croneye.answers import Refusal
from extensions.croneye.secret import load_secret
from extensions.croneye.tables import TABLES, metadata, users
from tests.extensions.croneye.api import EMAIL, EXTENSION, PASSWORD, SECRET, SETTINGS, TOKEN, VARIABLES
from tests.support.databases import postgresql_server
from tests.support.paths import KIT
from tests.support.servers import run_server
from tests.support.used import postgresql_database

WITHOUT = replace(SETTINGS, secret="")
OTHER = "another secret, which is long enough as well"


@pytest.fixture
def changed(api):
    api.forget_the_account()
    yield api
    api.forget_the_account()


def log_in(accounts):
    return f"Bearer {accounts.log_in(EMAIL, PASSWORD, '192.0.2.1')}"


def test_the_secret_of_the_settings_makes_processes_agree(changed):
    token = log_in(Accounts(changed.kit, SETTINGS))
    assert Accounts(changed.kit, SETTINGS).admit(token)["email"] == EMAIL
    with pytest.raises(Refusal, match="Invalid token"):
        Accounts(changed.kit, replace(SETTINGS, secret=OTHER)).admit(token)


def test_nothing_in_the_database_signs_tokens(changed):
    """Neither what stands in a column, nor what a reader of the database could derive from it."""
    log_in(Accounts(changed.kit, SETTINGS))
    (account,) = changed.rows(users)
    assert set(account) == {"id", "email", "password_hash", "initial_hash"}
    assert SECRET not in str(account)


@pytest.mark.parametrize("session_api", ["sqlite"], indirect=True)
class TestSqlite:
    @pytest.fixture
    def file(self, changed):
        path = changed.database.path.with_name("extension.db.croneye-secret")
        path.unlink(missing_ok=True)
        yield path
        path.unlink(missing_ok=True)

    def test_it_is_made_in_a_file_of_its_owner(self, changed, file):
        token = log_in(Accounts(changed.kit, WITHOUT))
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert len(file.read_text()) == 64
        assert Accounts(changed.kit, WITHOUT).admit(token)["email"] == EMAIL
        file.unlink()
        with pytest.raises(Refusal, match="Invalid token"):
            Accounts(changed.kit, WITHOUT).admit(token)

    def test_processes_that_make_it_at_the_same_time_have_one(self, changed, file):
        with ThreadPoolExecutor(8) as pool:
            found = set(pool.map(lambda _: load_secret(changed.kit, WITHOUT), range(32)))
        assert len(found) == 1
        assert [path.name for path in file.parent.glob("*secret*")] == [file.name]

    def test_without_an_administrator_none_is_made(self, changed, file):
        Accounts(changed.kit, replace(WITHOUT, admin_email="", admin_password=""))
        assert not file.exists()

    @pytest.mark.parametrize("spoil", [lambda path: path.write_text("\n"), lambda path: path.mkdir()])
    def test_a_file_that_holds_none_is_named(self, changed, file, spoil):
        spoil(file)
        with pytest.raises(SettingError, match="croneye-secret"):
            Accounts(changed.kit, WITHOUT)
        if file.is_dir():
            file.rmdir()


@pytest.mark.parametrize("session_api", ["postgresql"], indirect=True)
def test_on_postgresql_the_start_is_refused_in_one_line(api, tmp_path):
    url = api.database.url.render_as_string(hide_password=False).replace("+psycopg", "")
    environment = {**VARIABLES, "EXTENSION_CRONEYE_SECRET": "", "EXTENSION_DATABASE_URL": url}
    with run_server([KIT, "serve", EXTENSION, "--no-worker"], tmp_path / "log", **environment) as server:
        assert server.process.wait(30) == 2
        line = server.log.splitlines()[-1]
    assert line.startswith("extension-kit: EXTENSION_CRONEYE_SECRET is not set")
    assert "python3 -c 'import secrets; print(secrets.token_hex(32))'" in line


def test_a_short_secret_is_refused_and_not_shown(monkeypatch, tmp_path):
    for name, value in {**VARIABLES, "EXTENSION_CRONEYE_SECRET": "too short"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingError, match="EXTENSION_CRONEYE_SECRET") as raised:
        Service.of([extension], Settings(database_url=f"sqlite:///{tmp_path}/extension.db")).open()
    assert "too short" not in str(raised.value)


@pytest.fixture(params=["sqlite", "postgresql"])
def older(request, tmp_path, monkeypatch):
    """A database of an earlier release, in which somebody has logged in."""
    monkeypatch.setattr(TABLES.__class__, "__setattr__", object.__setattr__)
    monkeypatch.setattr(TABLES, "latest", "0001")

    def made(url):
        database = Database(url)
        upgrade(database, [TABLES])
        monkeypatch.undo()
        with database.transaction() as connection:
            account = {"email": EMAIL, "hash": "scrypt:1:1:1$a$b", "key": "k" * 64}
            insert = "INSERT INTO croneye_users VALUES (1, :email, :hash, :hash, :key)"
            connection.execute(text(insert), account)
        return database

    if request.param == "sqlite":
        database = made(f"sqlite:///{tmp_path}/extension.db")
        yield database
        database.dispose()
        return
    with postgresql_server() as server, postgresql_database(server) as url:
        database = made(url)
        yield database
        database.dispose()


def test_the_key_of_an_earlier_release_is_removed(older):
    upgrade(older, [TABLES])
    with older.read() as connection:
        inspector = inspect(connection)
        for table in metadata.sorted_tables:
            assert {column["name"] for column in inspector.get_columns(table.name)} == set(table.columns.keys())
            kept = {index["name"] for index in inspector.get_indexes(table.name)}
            assert {index.name for index in table.indexes} <= kept
        assert connection.execute(text("SELECT email FROM croneye_users")).scalar() == EMAIL
        assert TOKEN not in str(connection.execute(text("SELECT * FROM croneye_users")).all())
