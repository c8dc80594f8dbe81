import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from extension_kit.errors import SettingError
from extension_kit.settings.declare import read_settings
from extensions.tapis.settings import ANY, TapisSettings
from tests.support.tapis_tokens import SECRET, pem

RSA = pem(rsa.generate_private_key(65537, 2048))
OTHER_RSA = pem(rsa.generate_private_key(65537, 2048))


@pytest.fixture
def read(monkeypatch):
    def read(**variables):
        for name, value in {"JWT_SECRET": SECRET, **variables}.items():
            monkeypatch.setenv(f"EXTENSION_TAPIS_{name}", value)
        return read_settings(TapisSettings)

    return read


def test_the_defaults_are_upstreams_timings(read):
    settings = read()
    assert settings.schedule == (20.0, 20.0, *[600.0] * 150)
    assert settings.delivery_timeout == 10.0
    assert (settings.site, settings.site_admin_tenant, settings.tenants) == ("tacc", "admin", frozenset())
    assert settings.allowed_tenants == {("admin", ANY)}


def test_without_a_key_the_start_is_refused(read):
    with pytest.raises(SettingError, match="EXTENSION_TAPIS_JWT_PUBLIC_KEY"):
        read(JWT_SECRET="")


@pytest.mark.parametrize(
    ("text", "tenants"),
    [
        (RSA, [ANY]),
        (RSA.replace("\n", "\\n"), [ANY]),
        (f"dev: {RSA}", ["dev"]),
        (f"test-1:\n{RSA}\n{OTHER_RSA}\ndev:{OTHER_RSA}", ["test-1", ANY, "dev"]),
    ],
)
def test_public_keys(read, text, tenants):
    assert [tenant for tenant, _ in read(JWT_PUBLIC_KEY=text).jwt_public_key] == tenants


def test_public_keys_from_a_file(read, monkeypatch, tmp_path):
    (tmp_path / "key.pem").write_text(RSA)
    monkeypatch.setenv("EXTENSION_TAPIS_JWT_PUBLIC_KEY_FILE", str(tmp_path / "key.pem"))
    assert len(read().jwt_public_key) == 1


@pytest.mark.parametrize(
    ("text", "waits"), [("1", (1.0,)), ("0.5, 2", (0.5, 2.0)), ("10x3,1", (10.0, 10.0, 10.0, 1.0)), ("0x2", (0.0, 0.0))]
)
def test_schedules(read, text, waits):
    assert read(RETRY_SCHEDULE=text).retry_schedule == waits


def test_who_may_act_for_whom(read):
    settings = read(ALLOWED_TENANTS="admin=*, dev=test+train", ADMINS="a@dev, b@test", TENANTS="dev,test")
    assert settings.allowed_tenants == {("admin", ANY), ("dev", "test"), ("dev", "train")}
    assert settings.admins == {"a@dev", "b@test"}
    assert settings.tenants == {"dev", "test"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("JWT_SECRET", "short"),
        ("JWT_PUBLIC_KEY", "no PEM"),
        ("JWT_PUBLIC_KEY", RSA + "and more"),
        ("JWT_PUBLIC_KEY", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"),
        ("JWT_PUBLIC_KEY", pem(rsa.generate_private_key(65537, 1024))),
        ("JWT_PUBLIC_KEY", pem(ec.generate_private_key(ec.SECP256R1()))),
        ("RETRY_SCHEDULE", "soon"),
        ("RETRY_SCHEDULE", "1x0"),
        ("RETRY_SCHEDULE", "-1"),
        ("RETRY_SCHEDULE", "2592001"),
        ("RECOVERY_SCHEDULE", "1x999,1"),
        ("RECOVERY_SCHEDULE", "1x998"),  # with the two of the other schedule too many
        ("ADMINS", "testadmin"),
        ("TENANTS", "a b"),
        ("ALLOWED_TENANTS", "admin"),
        ("ALLOWED_TENANTS", "*=dev"),
        ("BASE_URL", "tapis.io"),
        ("BASE_URL", "http://tapis.io/v3"),
        ("DELIVERY_TIMEOUT", "0"),
    ],
)
def test_bad_values_are_named_and_secrets_are_not_shown(read, name, text):
    with pytest.raises(SettingError) as caught:
        read(**{name: text})
    assert f"EXTENSION_TAPIS_{name}" in str(caught.value)
    if name.startswith("JWT"):
        assert text not in str(caught.value)


def test_secrets_are_not_in_the_repr(read):
    assert SECRET not in repr(read(JWT_PUBLIC_KEY=RSA))
    assert "jwt_public_key" not in repr(read(JWT_PUBLIC_KEY=RSA))


def test_values_are_written_as_they_are_read(read):
    settings = read(RETRY_SCHEDULE="20,20,0.5", TENANTS="b, a", ALLOWED_TENANTS="dev=b+a,admin=*")
    assert str(settings.retry_schedule) == "20x2,0.5"
    assert str(settings.recovery_schedule) == "600x150"
    assert str(settings.tenants) == "a,b"
    assert str(settings.allowed_tenants) == "admin=*,dev=a,dev=b"
