"""Failed logins: three lock a name for a client's address, in all processes (eventhos, ``POST /auth/login``)."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from sqlalchemy import delete, or_, select

from extension_kit.protocol import Kit, delete_in_batches, limit_keys, lock_name, upsert

from .answers import EventhosError
from .settings import EventhosSettings
from .tables import failed_logins

_MOST = 3
_LOCKED_FOR = timedelta(minutes=3)


def check_login(kit: Kit, kind: str, name: str, address: str | None, is_right: Callable[[], bool]) -> bool:
    """Return True if the credentials of a login are right, and count it as failed if not.

    Failures of one address count together if each comes within three minutes of the one before. After three, the name
    is locked for this address for three minutes, whether it exists or not; nobody locks a name for others. Tries are
    checked one after the other: those at the same time are no way around the lock.

    Args:
        kit: the kit.
        kind: ``user`` or ``client``.
        name: as it was sent.
        address: of the client; that of a proxy if there is one in between.
        is_right: checks the credentials, fast: it runs within a transaction.

    Raises:
        EventhosError: 401, the name is locked.
    """
    (_, network), *_ = limit_keys(address, name)
    tried = sha256(f"{kind} {network} {name}".encode()).hexdigest()
    mine = failed_logins.c.name == tried
    with kit.transaction() as transaction:
        connection = transaction.connection
        lock_name(connection, f"eventhos login {tried}")
        now = datetime.now(UTC)
        row = connection.execute(select(failed_logins).where(mine)).one_or_none()
        # After the clock was set back, a time ahead of it counts no more, or the lock would last until then.
        times = row.times if row is not None and abs(now - row.last_at) < _LOCKED_FOR else 0
        if row is not None and times >= _MOST:
            left = (row.last_at + _LOCKED_FOR - now).total_seconds()
            raise EventhosError(401, 401003, "Too many failed logins: locked for 3 minutes", retry_after=left)
        right = is_right()
        if not right:
            values = {"name": tried, "times": times + 1, "last_at": now}
            upsert(connection, failed_logins, values, update=("times", "last_at"))
        elif row is not None:
            connection.execute(delete(failed_logins).where(mine))
    return right


def forget_failed_logins(kit: Kit, settings: EventhosSettings) -> int:
    """Delete failed logins that count no more, and return their number."""
    now = datetime.now(UTC)
    is_old = or_(failed_logins.c.last_at <= now - _LOCKED_FOR, failed_logins.c.last_at >= now + _LOCKED_FOR)
    return delete_in_batches(kit.database, failed_logins, is_old)
