"""Settings of the CronEye extension."""

import dataclasses
import re

from extension_kit.protocol import SECRET, TEXT, Kind, SettingError, seconds, setting

_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)*")


def _prefix(text: str) -> str:
    prefix = text.rstrip("/")
    if not _PREFIX.fullmatch(prefix):
        raise ValueError(text)
    return prefix


def _tokens(text: str) -> tuple[str, ...]:
    tokens = tuple(token.strip() for token in text.split(",") if token.strip())
    if not tokens or not all(token.isascii() and token.isprintable() for token in tokens):
        raise ValueError(text)
    return tokens


@dataclasses.dataclass(frozen=True)
class CronEyeSettings:
    """Settings of the CronEye extension.

    Raises:
        SettingError: there is no token, or only one of the administrator's e-mail address and password.
    """

    # fmt: off
    prefix: str = setting(
        "EXTENSION_CRONEYE_PREFIX", "", Kind(_prefix, "a path such as /croneye"),
        "Path prefix of /event. Upstream's path, /croneye/api/listener/event, is served as well.")
    tokens: tuple[str, ...] = setting(
        "EXTENSION_CRONEYE_TOKEN", (), Kind(_tokens, "printable ASCII, several separated by commas"),
        "Token that services send as `Authorization: Token ...`. Needed. During a rotation, the old and the new one.",
        secret=True)
    admin_email: str = setting(
        "EXTENSION_CRONEYE_ADMIN_EMAIL", "", TEXT,
        "E-mail address of the administrator, the only user of the dashboards. Unset: there is none.")
    admin_password: str = setting(
        "EXTENSION_CRONEYE_ADMIN_PASSWORD", "", TEXT,
        "Password of the administrator, until it is changed in the dashboards. A new value here takes effect again.",
        secret=True)
    secret: str = setting(
        "EXTENSION_CRONEYE_SECRET", "", SECRET,
        "Secret that signs the tokens of logins, the same in every process. Needed for an administrator on "
        "PostgreSQL. Unset on SQLite: a generated one, in a file beside the database. A new value ends all logins.",
        secret=True)
    overdue_after: float = setting(
        "EXTENSION_CRONEYE_OVERDUE_AFTER", 60.0, seconds(0, 604_800),
        "Seconds after the time of its next run from which a job that did not run counts as overdue.")
    lost_after: float = setting(
        "EXTENSION_CRONEYE_LOST_AFTER", 60.0, seconds(0, 604_800),
        "Minimum seconds that a run lasts before it counts as lost, however short the job's runs usually are.")
    # fmt: on

    def __post_init__(self) -> None:
        if not self.tokens:
            raise SettingError("EXTENSION_CRONEYE_TOKEN is not set: services need a token to send events")
        if bool(self.admin_email) != bool(self.admin_password):
            missing = "PASSWORD" if self.admin_email else "EMAIL"
            raise SettingError(f"EXTENSION_CRONEYE_ADMIN_{missing} is not set: both are needed, or neither")
