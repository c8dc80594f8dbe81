"""Settings of the eventhos extension."""

from dataclasses import dataclass
from typing import Literal

from extension_kit.protocol import (
    SCHEDULE,
    SECRET,
    SECRETS,
    TEXT,
    Kind,
    Schedule,
    SettingError,
    one_of,
    seconds,
    setting,
    whole_number,
)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip().lower() for name in text.split(",") if name.strip())


@dataclass(frozen=True)
class EventhosSettings:
    """Settings of the eventhos extension.

    Raises:
        SettingError: only one of the administrator's name and password is set.
    """

    # fmt: off
    profile: Literal["documented", "upstream"] = setting(
        "EXTENSION_EVENTHOS_PROFILE", "documented", one_of("documented", "upstream"),
        "Codes and statuses of /event/send: as eventhos documents them, or as its server answers them.")
    admin_user: str = setting(
        "EXTENSION_EVENTHOS_ADMIN_USER", "", TEXT,
        "Name of the administrator, who may do everything. Unset: there is none.")
    admin_password: str = setting(
        "EXTENSION_EVENTHOS_ADMIN_PASSWORD", "", TEXT,
        "Password of the administrator.", secret=True)
    jwt_secret: str = setting(
        "EXTENSION_EVENTHOS_JWT_SECRET", "", SECRET,
        "Secret that signs tokens, the same in every process. Needed on PostgreSQL. Unset on SQLite: a generated one, "
        "in a file beside the database. A new value makes all tokens invalid, but no keys.", secret=True)
    crypto_key: tuple[str, ...] = setting(
        "EXTENSION_EVENTHOS_CRYPTO_KEY", (), SECRETS,
        "Secret that encrypts requests of actions, secrets of clients and the event log in the database. Needed on "
        "PostgreSQL. Unset on SQLite: a generated one, in a file beside the database. During a rotation, the new one "
        "before the old one.", secret=True)
    retry_schedule: tuple[float, ...] = setting(
        "EXTENSION_EVENTHOS_RETRY_SCHEDULE", Schedule(), SCHEDULE,
        "Waits between the attempts of a contract that has no schedule of its own. Unset: there is one attempt.")
    missing: Literal["undefined", "omit", "empty", "error"] = setting(
        "EXTENSION_EVENTHOS_MISSING", "undefined", one_of("undefined", "omit", "empty", "error"),
        "What stands for a placeholder that finds nothing: the word undefined in texts and no key in JSON, as "
        "upstream; nothing, by leaving out the whole header, parameter or key; an empty text; or an error. A whole "
        "part of a URL's path is never left out or empty: that is an error.")
    timeout: float = setting(
        "EXTENSION_EVENTHOS_TIMEOUT", 70.0, seconds(0.1, 300),
        "Seconds until the answer to an action, a request for its token included.")
    max_body_bytes: int = setting(
        "EXTENSION_EVENTHOS_MAX_BODY_BYTES", 8 * 1024**2, whole_number(1, 1024**3),
        "Maximum bytes of an event. Bodies above EXTENSION_MAX_BODY_BYTES are refused before.")
    max_replies: int = setting(
        "EXTENSION_EVENTHOS_MAX_REPLIES", 8, whole_number(0, 100),
        "Maximum number of replies in a chain: an action's answer may be another event, which has actions again.")
    max_replies_of_event: int = setting(
        "EXTENSION_EVENTHOS_MAX_REPLIES_OF_EVENT", 1000, whole_number(0, 10**6),
        "Maximum number of replies to one event, replies to its replies included; a few more if they come together.")
    masked: tuple[str, ...] = setting(
        "EXTENSION_EVENTHOS_MASKED", (), Kind(_names, "names separated by commas"),
        "Keys whose values are masked in e-mails, log lines and the event log, in upper or lower case, at any depth.")
    mail_recipients: str = setting(
        "EXTENSION_EVENTHOS_MAIL_RECIPIENTS", "", TEXT,
        "Recipients of e-mails about failed contracts that name none, separated by commas. "
        "E-mails need EXTENSION_SMTP_HOST.")
    alias: str = setting(
        "EXTENSION_EVENTHOS_ALIAS", "", TEXT,
        "Name of this server in the subjects of e-mails.")
    # fmt: on

    def __post_init__(self) -> None:
        if bool(self.admin_user) != bool(self.admin_password):
            missing = "PASSWORD" if self.admin_user else "USER"
            raise SettingError(f"EXTENSION_EVENTHOS_ADMIN_{missing} is not set: both are needed, or neither")
