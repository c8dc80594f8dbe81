"""Accounts of the dashboards: one administrator, and login tokens that are valid for five days."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hmac import compare_digest
from typing import Any

import jwt
from sqlalchemy import Row, select, update

from extension_kit.protocol import (
    Kit,
    PasswordGate,
    PasswordsBusy,
    TooManyTries,
    Tries,
    hash_password,
    insert_or_ignore,
    limit_keys,
    verify_password,
)

from .answers import Refusal
from .secret import load_secret, signing_key
from .settings import CronEyeSettings
from .tables import users

logger = logging.getLogger("extension_kit.croneye")

_ID = 1
_VALID_FOR = timedelta(days=5)
_ALGORITHM = "HS256"


class Accounts:
    """The administrator named in the settings.

    Args:
        kit: the kit. Its database keeps the account, so that tokens and a new password are valid in every process.
        settings: the e-mail address, the password of the first login, and the secret that signs tokens.

    Raises:
        SettingError: there is an administrator, but no secret.
    """

    def __init__(self, kit: Kit, settings: CronEyeSettings) -> None:
        self._kit = kit
        self._email = settings.admin_email
        self._password = settings.admin_password
        self._secret = load_secret(kit, settings) if self._email else b""
        self._gate = PasswordGate(kit.settings.web_threads, Tries())
        self._is_fresh = False

    def log_in(self, email: str, password: str, address: str | None) -> str:
        """Check an e-mail address and a password, and return a token.

        Another address than the administrator's gets the answer to a wrong password, after the same time.

        Args:
            email: the e-mail address.
            password: the password as it was sent.
            address: the client's address; its wrong tries are counted.

        Raises:
            Refusal: the address or the password is wrong, or the try has to wait.
        """
        if not self._email:
            raise Refusal(404, "User does not exist")

        def is_right() -> bool:
            of_account = verify_password(password, self._account().password_hash)
            return compare_digest(email.encode(), self._email.encode()) and of_account

        if not self._check(email, address, is_right):
            raise Refusal(401, "Password is not matching. Login again.")
        now = datetime.now(UTC)
        return jwt.encode({"exp": now + _VALID_FOR, "iat": now, "id": _ID}, self._key(self._account()), _ALGORITHM)

    def admit(self, authorization: str) -> dict[str, Any]:
        """Check the token, which is the second word of the header ``Authorization``, and return its user.

        Raises:
            Refusal: the token is missing, wrong or expired, or its user is gone.
        """
        if not authorization:
            raise Refusal(400, "Provide a valid auth token")
        account = self._stored() if self._email else None
        if account is None:
            raise Refusal(404, "User does not exist")
        try:
            token = authorization.split()[1]
            # The clock of the process that made the token may be ahead.
            jwt.decode(token, self._key(account), [_ALGORITHM], options={"require": ["exp"], "verify_iat": False})
        except jwt.ExpiredSignatureError as error:
            raise Refusal(401, "Signature expired. Please login again.") from error
        except (jwt.InvalidTokenError, IndexError) as error:
            raise Refusal(401, "Invalid token. Please login again.") from error
        if account.email != self._email:
            raise Refusal(404, "User does not exist")
        return {
            "id": account.id,
            "username": account.email.partition("@")[0],
            "first_name": None,
            "last_name": None,
            "email": account.email,
            "active": True,
            "user_group": "admin",
        }

    def change_password(self, current: str, new: str, address: str | None) -> None:
        """Change the password. Tokens made before become invalid.

        Args:
            current: the current password, as it was sent.
            new: the new password.
            address: the client's address; its wrong tries are counted.

        Raises:
            Refusal: the current password is wrong, or the try has to wait.
        """
        refused = Refusal(400, "Current password is not matching.", data={})
        account = self._stored()
        if account is None:
            raise refused
        changed: dict[str, str] = {}

        def is_right() -> bool:
            if verify_password(current, account.password_hash):
                changed["password_hash"] = hash_password(new)
            return bool(changed)

        if not self._check(account.email, address, is_right, data={}):
            raise refused
        mine = (users.c.id == _ID) & (users.c.password_hash == account.password_hash)
        with self._kit.transaction() as transaction:
            if not transaction.connection.execute(update(users).where(mine).values(changed)).rowcount:
                raise refused

    def _check(self, name: str, address: str | None, is_right: Callable[[], bool], **content: Any) -> bool:
        try:
            if right := self._gate.check(limit_keys(address, name), is_right):
                return right
        except TooManyTries as error:
            message = "Too many wrong passwords. Wait, and try again."
            raise Refusal(429, message, retry_after=error.seconds, **content) from error
        except PasswordsBusy as error:
            raise Refusal(429, "Too many logins at once. Try again.", retry_after=1.0, **content) from error
        logger.warning("Wrong name or password from %s", address or "a client without an address")
        return False

    def _key(self, account: Row[Any]) -> str:
        """Return the key of tokens. It changes with the password, which ends all logins."""
        return signing_key(self._secret, account.password_hash).hex()

    def _stored(self) -> Row[Any] | None:
        with self._kit.read() as connection:
            return connection.execute(select(users).where(users.c.id == _ID)).one_or_none()

    def _account(self) -> Row[Any]:
        """Return the account. It is created, or replaced if the settings have changed since it was.

        Hashing is slow on purpose, so the settings are compared once in each process.
        """
        account = self._stored()
        if account is not None and (self._is_fresh or self._is_of_settings(account)):
            self._is_fresh = True
            return account
        made = hash_password(self._password)
        values = {"email": self._email, "password_hash": made, "initial_hash": made}
        with self._kit.transaction() as transaction:
            connection = transaction.connection
            if account is not None:
                connection.execute(update(users).where(users.c.id == _ID).values(values))
            else:  # if another process creates it at the same time, that one counts
                insert_or_ignore(connection, users, {"id": _ID, **values})
        self._is_fresh = True
        return self._account()

    def _is_of_settings(self, account: Row[Any]) -> bool:
        return account.email == self._email and verify_password(self._password, account.initial_hash)
