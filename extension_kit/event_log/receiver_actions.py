"""Receiver actions: pause and resume of a receiver by a person, with the row that tells of it."""

import logging

from extension_kit.deliveries.action_rows import PAUSE, RESUME, add_receiver_action
from extension_kit.deliveries.pauses import pause, resume
from extension_kit.deliveries.receivers import is_known
from extension_kit.deliveries.tables import bounded
from extension_kit.errors import ExtensionKitError
from extension_kit.event_log.context import EventLog
from extension_kit.observability.printable import printable

logger = logging.getLogger("extension_kit.event_log")

_SHOWN = 80  # characters of a key


class UnknownReceiver(ExtensionKitError):
    """There is no such receiver; the message is a sentence for people."""


def pause_receiver(log: EventLog, key: str, made_by: str) -> bool:
    """Pause a receiver; return False if it is paused already.

    Args:
        log: the database and the extensions.
        key: key of a durable listener, or ``subscription:<ref>``.
        made_by: name of the person.

    Raises:
        UnknownReceiver: there is none with this key.
        TooManyPaused: as many are paused as can be.
        StoreError: the database cannot be used.
    """
    with log.database.transaction() as connection:
        if not _is_listener(log, key) and not is_known(connection, key):
            raise _unknown(key)
        is_new = pause(connection, key, made_by)
        if is_new:
            add_receiver_action(connection, PAUSE, key, made_by)
    if is_new:
        logger.info("Receiver paused", extra={"fields": {"receiver": key, "by": made_by}})
    return is_new


def resume_receiver(log: EventLog, key: str, made_by: str) -> bool:
    """Resume a receiver; return False if it is not paused.

    Args:
        log: the database and the extensions.
        key: as for ``pause_receiver``.
        made_by: name of the person.

    Raises:
        UnknownReceiver: there is none with this key.
        StoreError: the database cannot be used; it stays paused.
    """
    with log.database.transaction() as connection:
        if not _is_listener(log, key) and not is_known(connection, key):
            raise _unknown(key)
        was_paused = resume(connection, key)
        if was_paused:
            add_receiver_action(connection, RESUME, key, made_by)
    if was_paused:
        logger.info("Receiver resumed", extra={"fields": {"receiver": key, "by": made_by}})
    return was_paused


def _is_listener(log: EventLog, key: str) -> bool:
    """Return True if a durable listener of the extensions has a key."""
    listeners = log.service.registry.listeners if log.service else ()
    return any(bounded(each.key) == bounded(key) for each in listeners if not each.immediate)


def _unknown(key: str) -> UnknownReceiver:
    return UnknownReceiver(
        f"There is no receiver {printable(key[: 4 * _SHOWN])[:_SHOWN]!r}: no delivery, no subscription and no durable "
        "listener of the extensions has this key. Immediate listeners have no deliveries, and cannot be paused."
    )
