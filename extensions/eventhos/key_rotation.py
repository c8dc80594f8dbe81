"""Key rotation: values of clients and actions that an old secret has encrypted are encrypted with the new one."""

import logging

from sqlalchemy import select, update

from extension_kit.protocol import Kit

from .encryption import VARIABLE, Encryption, OtherKey
from .settings import EventhosSettings
from .tables import actions, clients

logger = logging.getLogger("extension_kit.eventhos")

_COLUMNS = (clients.c.secret, actions.c.request, actions.c.security)


def encrypt_with_new_key(kit: Kit, settings: EventhosSettings) -> int:
    """Encrypt with the first secret whatever an old one is still needed for, except the log, which is removed in time.

    Returns:
        The number of values that were encrypted again.
    """
    if len(settings.crypto_key) < 2:
        return 0
    encryption, renewed = Encryption.of(kit, settings), 0
    for column in _COLUMNS:
        row_id = column.table.c.id
        with kit.read() as connection:
            found = connection.execute(select(row_id, column).where(column.is_not(None)).order_by(row_id)).all()
        for id, before in found:
            try:
                after = encryption.renewed(before)
            except OtherKey as error:
                logger.error("%s %d cannot be read: %s", column, id, error)  # noqa: TRY400
                continue
            if after is not None:
                unchanged = update(column.table).where(row_id == id, column == before)
                with kit.transaction() as transaction:
                    renewed += transaction.connection.execute(unchanged.values({column.name: after})).rowcount
    if renewed:
        logger.info("%d values were encrypted with the new %s", renewed, VARIABLE)
    return renewed
