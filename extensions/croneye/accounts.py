"""Who may look at the dashboards: one administrator, who logs in and gets a token for five days."""

from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import Any

import jwt
from sqlalchemy import Row, select, update
from sqlalchemy.dialects import postgresql, sqlite
from werkzeug.security import check_password_hash, generate_password_hash

from extension_kit.protocol import Host

from .answers import Refusal
from .settings import CronEyeSettings
from .tables import users

_ID = 1
_VALID_FOR = timedelta(days=5)
_ALGORITHM = "HS256"


class Accounts:
    """The administrator whom the settings name.

    Args:
        host: where the account is kept: the password may be changed, and tokens hold in every process.
        settings: the e-mail address, and the password of the first login.
    """

    def __init__(self, host: Host, settings: CronEyeSettings) -> None:
        self._host = host
        self._email = settings.admin_email
        self._password = settings.admin_password
        self._is_fresh = False

    def log_in(self, email: Any, password: Any) -> str:
        """Check an e-mail address and a password, and make a token.

        Raises:
            Refusal: they are not right.
        """
        if not self._email or email != self._email:
            raise Refusal(404, "User does not exist")
        account = self._account()
        if not isinstance(password, str) or not check_password_hash(account.password_hash, password):
            raise Refusal(401, "Password is not matching. Login again.")
        now = datetime.now(UTC)
        return jwt.encode({"exp": now + _VALID_FOR, "iat": now, "id": _ID}, account.token_key, _ALGORITHM)

    def admit(self, authorization: str) -> dict[str, Any]:
        """Let in who has a token, which is the second word of a header, and say who it is.

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
            # The clock of the process that made it may be ahead.
            jwt.decode(token, account.token_key, [_ALGORITHM], options={"require": ["exp"], "verify_iat": False})
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

    def change_password(self, current: Any, new: str) -> None:
        """Change the password; tokens that were made before are not valid any more.

        Raises:
            Refusal: the current password is another one.
        """
        account = self._stored()
        if account is None or not isinstance(current, str) or not check_password_hash(account.password_hash, current):
            raise Refusal(400, "Current password is not matching.", data={})
        changed = {"password_hash": generate_password_hash(new), "token_key": token_hex(32)}
        mine = (users.c.id == _ID) & (users.c.password_hash == account.password_hash)
        with self._host.transaction() as transaction:
            if not transaction.connection.execute(update(users).where(mine).values(changed)).rowcount:
                raise Refusal(400, "Current password is not matching.", data={})

    def _stored(self) -> Row[Any] | None:
        with self._host.read() as connection:
            return connection.execute(select(users).where(users.c.id == _ID)).one_or_none()

    def _account(self) -> Row[Any]:
        """The account; made, or made anew, where the settings have changed since it was.

        Hashing takes long on purpose, so it is seen to once in each process.
        """
        account = self._stored()
        if account is not None and (self._is_fresh or self._is_of_settings(account)):
            self._is_fresh = True
            return account
        hashed = generate_password_hash(self._password)
        values = {"email": self._email, "password_hash": hashed, "initial_hash": hashed, "token_key": token_hex(32)}
        with self._host.transaction() as transaction:
            connection = transaction.connection
            if account is not None:
                connection.execute(update(users).where(users.c.id == _ID).values(values))
            else:  # where another process makes it at the same time, that one counts
                dialect = sqlite if self._host.database.is_sqlite else postgresql
                connection.execute(dialect.insert(users).values(id=_ID, **values).on_conflict_do_nothing())
        self._is_fresh = True
        return self._account()

    def _is_of_settings(self, account: Row[Any]) -> bool:
        return account.email == self._email and check_password_hash(account.initial_hash, self._password)
