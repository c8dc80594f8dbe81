"""Settings of the Pulp extension, and the parsers of their values."""

import re
from dataclasses import dataclass
from typing import NamedTuple

from extension_kit.protocol import (
    SCHEDULE,
    SECRET,
    TEXT,
    TRUE_OR_FALSE,
    Kind,
    RegistrationError,
    Schedule,
    SettingError,
    check_pattern,
    seconds,
    setting,
)

OPERATIONS = ("create", "read", "update", "delete")
"""Operations that a user may be permitted, in Pulp's order."""

_NAME = re.compile(r"[^\s:,]{1,255}")
_HASH = re.compile(r"scrypt:([0-9]{1,7}):([0-9]{1,2}):([0-9]{1,2})\$[A-Za-z0-9]{1,64}\$[0-9a-f]{128}")
_MOST_HASH_BYTES = 256 * 1024 * 1024


class User(NamedTuple):
    """A user of the API."""

    name: str
    password_hash: str
    operations: frozenset[str]

    def __repr__(self) -> str:
        """Return the user without the hash."""
        return f"User(name={self.name!r}, operations={sorted(self.operations)})"


def read_user(entry: str) -> User:
    """Read an entry ``NAME:HASH:OPERATION+OPERATION``.

    Raises:
        ValueError: the entry cannot be used. The message gives the reason, without the hash.
    """
    name, _, rest = entry.partition(":")
    password_hash, _, operations = rest.rpartition(":")
    if _NAME.fullmatch(name) is None:
        raise ValueError("a name has 1 to 255 characters, without spaces, colons and commas")
    if not _is_hash(password_hash):
        raise ValueError("the hash is not one that make_user.py prints (in a shell, it needs single quotes)")
    if unknown := sorted(set(operations.split("+")) - set(OPERATIONS)):
        raise ValueError(f"{unknown[0]!r} is not an operation: {', '.join(OPERATIONS)} are, joined by +")
    return User(name, password_hash, frozenset(operations.split("+")))


def _is_hash(text: str) -> bool:
    """Return True for a hash of scrypt that can be computed, within a bound of memory."""
    if (found := _HASH.fullmatch(text)) is None:
        return False
    n, r, p = map(int, found.groups())
    is_power_of_2 = n > 1 and n & (n - 1) == 0
    return is_power_of_2 and r > 0 and p > 0 and 128 * n * r * p <= _MOST_HASH_BYTES


def _users(text: str) -> tuple[User, ...]:
    users: dict[str, User] = {}
    for number, entry in enumerate(filter(None, map(str.strip, text.split(","))), 1):
        try:
            user = read_user(entry)
        except ValueError as error:
            raise SettingError(f"EXTENSION_PULP_USERS cannot be used: entry {number}: {error}") from None
        if user.name in users:
            raise SettingError(f"EXTENSION_PULP_USERS cannot be used: user {user.name!r} is there twice")
        users[user.name] = user
    return tuple(users.values())


def _names(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    try:
        for name in names:
            check_pattern(name)
    except RegistrationError as error:
        raise ValueError(str(error)) from error
    return names


def _schedule(text: str) -> Schedule:
    return Schedule() if text.strip().lower() == "none" else SCHEDULE.parse(text)


# fmt: off
@dataclass(frozen=True)
class PulpSettings:
    """Settings of the Pulp extension. Times are in seconds.

    Raises:
        SettingError: only one of the administrator's name and password is set, the name has a colon, or a user has the
            administrator's name.
    """

    admin_username: str = setting(
        "EXTENSION_PULP_ADMIN_USERNAME", "", TEXT,
        "Name of the administrator, who may do everything. Unset, without other users: requests from this machine only "
        "are served, without authentication.")
    admin_password: str = setting(
        "EXTENSION_PULP_ADMIN_PASSWORD", "", TEXT,
        "Password of the administrator.", secret=True)
    users: tuple[User, ...] = setting(
        "EXTENSION_PULP_USERS", (), Kind(_users, "NAME:HASH:OPERATION+OPERATION, separated by commas"),
        "Further users, each with the hash of a password and with permitted operations: `create`, `read`, `update`, "
        "`delete`. `python extensions/pulp/make_user.py NAME read+create` asks for a password and prints an entry. A "
        "client certificate authenticates the user that its common name names.", secret=True)
    token: str = setting(
        "EXTENSION_PULP_TOKEN", "", TEXT,
        "Token that a Pulp server sends with its notifications: as `?token=` in the URL, or as the password of its "
        "notifier.", secret=True)
    event_types: tuple[str, ...] = setting(
        "EXTENSION_PULP_EVENT_TYPES", (), Kind(_names, "event names and patterns, separated by commas"),
        "Names of other systems' events that listeners may name beside Pulp's types, such as "
        "`experiment.execution.failed,croneye.job.*`. `*` of a listener includes them.")
    require_config: bool = setting(
        "EXTENSION_PULP_REQUIRE_CONFIG", False, TRUE_OR_FALSE,
        "`true` refuses a new listener without `notifier_config`, as Pulp's document says; Pulp's server accepts it.")
    retry_schedule: tuple[float, ...] | None = setting(
        "EXTENSION_PULP_RETRY_SCHEDULE", None, Kind(_schedule, f"{SCHEDULE.allowed}; or none"),
        "Seconds between the attempts of a notification. Unset: as for functions. `none`: a single attempt, as Pulp "
        "makes it.")
    timeout: float = setting(
        "EXTENSION_PULP_TIMEOUT", 15.0, seconds(0.1, 300),
        "Seconds within which the receiver of an `http` notifier has to answer.")
    amqp_url: str = setting(
        "EXTENSION_PULP_AMQP_URL", "", TEXT,
        "Broker of `amqp` notifiers, such as `amqps://user:password@broker.example.com/`. Unset: their notifications "
        "fail.", secret=True)
    hide_passwords: bool = setting(
        "EXTENSION_PULP_HIDE_PASSWORDS", False, TRUE_OR_FALSE,
        "`true` leaves passwords of notifiers out of answers. Pulp's server shows them.")
    secret: str = setting(
        "EXTENSION_PULP_SECRET", "", SECRET,
        "Secret that encrypts passwords of notifiers in the database, the same in every process. Needed on PostgreSQL. "
        "Unset on SQLite: a generated one, in a file beside the database.", secret=True)

    def __post_init__(self) -> None:
        if bool(self.admin_username) != bool(self.admin_password):
            missing = "PASSWORD" if self.admin_username else "USERNAME"
            raise SettingError(f"EXTENSION_PULP_ADMIN_{missing} is not set: both are needed, or neither")
        if ":" in self.admin_username:
            raise SettingError("EXTENSION_PULP_ADMIN_USERNAME has a colon: it ends the name in Basic authentication")
        if self.admin_username in (user.name for user in self.users):
            raise SettingError("EXTENSION_PULP_USERS names the administrator: give the user another name")
# fmt: on
