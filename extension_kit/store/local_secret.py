"""Local secrets: generated secrets in files beside a SQLite database, which itself must not hold them."""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from tempfile import NamedTemporaryFile

from extension_kit.errors import SettingError
from extension_kit.settings.kinds import LEAST_SECRET_BYTES, RANDOM_TEXT_COMMAND
from extension_kit.store.database import Database
from extension_kit.store.folder_flush import flush_folder


def local_secret(database: Database, name: str, *, variable: str) -> bytes:
    """Return the secret of a file beside a SQLite database, which is created if it is missing.

    All processes of a SQLite database are on one machine and share this file; those of PostgreSQL need not be.

    Args:
        database: the database.
        name: of the extension, as the file's name has it.
        variable: the setting of a secret that is used instead, for messages.

    Raises:
        SettingError: the database is PostgreSQL, or the file cannot be used.
    """
    refuse_missing_secrets(database, {variable: None})
    path = database.path.with_name(f"{database.path.name}.{name}-secret")
    try:
        return _of_file(path)
    except OSError as error:
        raise SettingError(f"{path} cannot be used: {error.strerror}; {variable} is taken instead") from error


def refuse_missing_secrets(database: Database, secrets: Mapping[str, object]) -> None:
    """Check that all secrets of an extension are set on PostgreSQL, where none are generated.

    Args:
        database: the database.
        secrets: the values of the settings by variable; those that are not set are empty or None.

    Raises:
        SettingError: some are missing; one line names all of them.
    """
    missing = [variable for variable, value in secrets.items() if not value]
    if not missing or database.is_sqlite:
        return
    names = " and ".join(missing)
    said = f"{names} is not set: it is" if len(missing) == 1 else f"{names} are not set: they are"
    make = "Make one" if len(missing) == 1 else "Make each"
    raise SettingError(f"{said} needed on PostgreSQL. {make} by  {RANDOM_TEXT_COMMAND}  and set it for every process")


def _of_file(path: Path) -> bytes:
    if not path.exists():
        # Written as a whole, and readable by its owner only; if another process is first, its file counts.
        with NamedTemporaryFile(dir=path.parent, prefix=f"{path.name}.") as made, suppress(FileExistsError):
            made.write(token_hex(LEAST_SECRET_BYTES).encode())
            made.flush()
            os.fsync(made.fileno())
            os.link(made.name, path)
        flush_folder(path.parent)
    if len(secret := path.read_bytes().strip()) < LEAST_SECRET_BYTES:
        raise SettingError(f"{path} holds no secret: remove it, and another one is made")
    return secret
