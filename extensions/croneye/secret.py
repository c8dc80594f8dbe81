"""The secret that signs login tokens. It is never stored in the database."""

import hmac
import os
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from tempfile import NamedTemporaryFile

from extension_kit.protocol import Host, SettingError

from .settings import LEAST_SECRET_BYTES, CronEyeSettings

_PURPOSE = b"croneye tokens of logins"


def secret_of(host: Host, settings: CronEyeSettings) -> bytes:
    """Return the secret of the settings, or of a file beside the SQLite database, which is created if it is missing.

    All processes of a SQLite database are on one machine and share this file; those of PostgreSQL need not be.

    Raises:
        SettingError: there is no secret, or its file cannot be used.
    """
    if settings.secret:
        return settings.secret.encode()
    if not host.database.is_sqlite:
        raise SettingError(
            "EXTENSION_CRONEYE_SECRET is not set: on PostgreSQL, EXTENSION_CRONEYE_ADMIN_EMAIL needs it. Make one by  "
            "python3 -c 'import secrets; print(secrets.token_hex(32))'  and set it for every process that serves"
        )
    path = host.database.path.with_name(f"{host.database.path.name}.croneye-secret")
    try:
        return _of_file(path)
    except OSError as error:
        raise SettingError(
            f"{path} cannot be used: {error.strerror}; EXTENSION_CRONEYE_SECRET is taken instead"
        ) from error


def _of_file(path: Path) -> bytes:
    if not path.exists():
        # Written as a whole, and readable by its owner only; if another process is first, its file counts.
        with NamedTemporaryFile(dir=path.parent, prefix=f"{path.name}.") as made, suppress(FileExistsError):
            made.write(token_hex(LEAST_SECRET_BYTES).encode())
            made.flush()
            os.fsync(made.fileno())
            os.link(made.name, path)
    if len(secret := path.read_bytes().strip()) < LEAST_SECRET_BYTES:
        raise SettingError(f"{path} holds no secret: remove it, and another one is made")
    return secret


def signing_key(secret: bytes, salt: str) -> bytes:
    """Derive a key of 32 bytes from the secret and a salt (HKDF with SHA-256, RFC 5869)."""
    extracted = hmac.digest(salt.encode(), secret, "sha256")
    return hmac.digest(extracted, _PURPOSE + b"\x01", "sha256")
