"""Groups of subscriptions: one for each target of something that others see as a single subscription.

The subscriptions of a group want the same events and differ in their targets, so that each has its own deliveries,
retries and dead letters. They are changed and removed together.
"""

import secrets
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Unpack

from sqlalchemy import ColumnElement, Connection, delete, select, update

from extension_kit.deliveries import subscriptions as single
from extension_kit.deliveries.subscriptions import CheckTargets, Subscription, SubscriptionError, Wanted
from extension_kit.deliveries.tables import subscriptions
from extension_kit.store.batches import batches


class Target(NamedTuple):
    """A sender's name, and where it sends to."""

    sender: str
    target: dict[str, Any]


def get_group(connection: Connection, protocol: str, group: str, *, lock: bool = False) -> list[Subscription]:
    """Return the subscriptions of a group, oldest first; ``lock`` keeps others from changing them until the commit."""
    return single.read(connection, *_of(protocol, [group]), lock=lock)


def set_targets(
    connection: Connection,
    senders: CheckTargets,
    protocol: str,
    group: str,
    targets: Sequence[Target],
    *,
    scope: str = "",
    **wanted: Unpack[Wanted],
) -> None:
    """Make a group lead to exactly these targets, and want exactly these events.

    A target that stays keeps its subscription, and is not checked again. A new one takes over the subscription of one
    that goes and has the same sender, with what waits for it; the others that go are removed, and what waits for them
    is discarded when it is due.

    Args:
        connection: of a transaction.
        senders: check new targets.
        protocol: the extension whose group it is.
        group: its name, unique within the protocol; a group that is not there is made.
        targets: where it leads to; one that occurs twice gets every event twice.
        scope: whose events, as in ``Subscription``; that of a group that is there stays.
        wanted: attributes of ``Subscription`` that are the same for all of them.

    Raises:
        SubscriptionError: it cannot be so; the transaction has to be rolled back.
    """
    taken, left = _assign(targets, get_group(connection, protocol, group, lock=True))
    for place, (target, before) in enumerate(zip(targets, taken, strict=True)):
        try:
            if before is None:
                single.add(
                    connection,
                    senders,
                    protocol=protocol,
                    name=f"{group}/{secrets.token_hex(8)}",
                    group=group,
                    scope=scope,
                    sender=target.sender,
                    target=target.target,
                    **wanted,
                )
            elif before.target == target.target:
                single.change(connection, senders, before.ref, **wanted)
            else:
                single.change(connection, senders, before.ref, target=target.target, **wanted)
        except SubscriptionError as error:
            raise SubscriptionError(error.problems, place) from None
    for each in left:
        single.remove(connection, each.ref)


def end_groups(connection: Connection, protocol: str, groups: Collection[str], expires_at: datetime) -> None:
    """Let the subscriptions of groups get no events from a time on."""
    for some in batches(groups):
        connection.execute(update(subscriptions).where(*_of(protocol, some)).values(expires_at=expires_at))


def remove_groups(connection: Connection, protocol: str, groups: Collection[str]) -> None:
    """Remove groups; their deliveries that wait are discarded when they are due."""
    for some in batches(groups):
        connection.execute(delete(subscriptions).where(*_of(protocol, some)))


def waiting_groups(connection: Connection, protocol: str, groups: Collection[str]) -> set[str]:
    """Return those of the groups for which something waits to be delivered."""
    group_of: dict[int, str] = {}
    for some in batches(groups):
        query = select(subscriptions.c.ref, subscriptions.c.group).where(*_of(protocol, some))
        group_of.update({row.ref: row.group for row in connection.execute(query)})
    return {group_of[ref] for ref in single.waiting(connection, group_of)}


def _of(protocol: str, groups: Collection[str]) -> tuple[ColumnElement[bool], ...]:
    return subscriptions.c.protocol == protocol, subscriptions.c.group.in_(groups)


def _assign(
    targets: Sequence[Target], there: Sequence[Subscription]
) -> tuple[list[Subscription | None], list[Subscription]]:
    """Give targets the subscriptions that are there: first those that lead there already, then any of the same sender.

    Returns:
        The subscription of each target, None where one has to be made; and those that are left.
    """
    left = list(there)
    taken: list[Subscription | None] = [None] * len(targets)
    for same_target in (True, False):
        for place, target in enumerate(targets):
            fits = (
                each
                for each in left
                if each.sender == target.sender and (each.target == target.target or not same_target)
            )
            if taken[place] is None and (found := next(fits, None)) is not None:
                taken[place] = found
                left.remove(found)
    return taken, left
