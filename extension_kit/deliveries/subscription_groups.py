"""Groups of subscriptions: a subscription with several targets, stored as one row for each.

The subscriptions of a group have the same patterns and different targets, so that each has its own deliveries,
retries and dead letters. They are changed and removed together.
"""

# ruff: noqa: S608 (only names of ours are put into statements)

import secrets
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Unpack

from sqlalchemy import ColumnElement, Connection, delete, select, update

from extension_kit.deliveries import subscriptions as single
from extension_kit.deliveries.subscription_deliveries import Delivery, DeliveryStatus, deliveries_of, waiting
from extension_kit.deliveries.subscription_matching import listener_key
from extension_kit.deliveries.subscriptions import CheckTargets, Subscription, SubscriptionError, Wanted
from extension_kit.deliveries.tables import DEAD, WAITING, subscriptions
from extension_kit.store.batches import batches
from extension_kit.store.bulk_statement import BulkStatement

MOST_COUNTED, MOST_TARGETS = 1000, 20
"""Deliveries to a target, and targets of a group, that ``count_deliveries`` looks at."""


class Target(NamedTuple):
    """A sender's name and a target for it."""

    sender: str
    target: dict[str, Any]


class DeliveryCounts(NamedTuple):
    """Numbers of deliveries to all targets of a group.

    Attributes:
        waiting: those that wait.
        dead: dead letters.
        is_complete: False: there may be more of both.
    """

    waiting: int = 0
    dead: int = 0
    is_complete: bool = True

    @property
    def shown(self) -> tuple[int | str, int | str]:
        """Both numbers as cells of a table: a text such as ``1,000 or more`` where there may be more."""
        if self.is_complete:
            return self.waiting, self.dead
        return f"{self.waiting:,} or more", f"{self.dead:,} or more"


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
    """Set the targets and the wanted events of a group.

    An unchanged target keeps its subscription, and is not checked again. A new target takes over the subscription of a
    removed target with the same sender, and its waiting deliveries. Other removed targets lose their subscriptions;
    their waiting deliveries are discarded when they are due.

    Args:
        connection: of a transaction.
        senders: check new targets.
        protocol: source of the event protocol that has the group.
        group: its name, unique within the protocol; the group is made if it does not exist.
        targets: the group's targets; one that occurs twice gets every event twice.
        scope: as in ``Subscription``; not changed for subscriptions that exist.
        wanted: attributes of ``Subscription``, the same for the whole group.

    Raises:
        SubscriptionError: a value is invalid; the transaction has to be rolled back.
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


def deliveries(
    connection: Connection,
    protocol: str,
    group: str,
    *,
    status: DeliveryStatus | None = None,
    before: int | None = None,
    limit: int = 100,
) -> list[Delivery]:
    """Return deliveries to all targets of a group together, newest first, as ``subscriptions.deliveries`` does.

    Those to targets that were removed from the group are left out.

    Raises:
        ValueError: ``status`` or ``limit`` is invalid.
    """
    refs = connection.execute(select(subscriptions.c.ref).where(*_of(protocol, [group]))).scalars().all()
    return deliveries_of(connection, refs, status=status, before=before, limit=limit)


def count_deliveries(connection: Connection, protocol: str, groups: Collection[str]) -> dict[str, DeliveryCounts]:
    """Count the waiting deliveries and the dead letters of groups, quickly however many there are.

    Of a group the ``MOST_TARGETS`` oldest targets are looked at, and of each up to ``MOST_COUNTED`` deliveries.
    """
    found = dict.fromkeys(groups, DeliveryCounts())
    if not found:
        return found
    targets: dict[str, str] = {}
    numbers: Counter[str] = Counter()
    for group, ref in _SOME_TARGETS.execute(connection, [(protocol, group) for group in found]):
        numbers[group] += 1
        if numbers[group] <= MOST_TARGETS:
            targets[listener_key(ref)] = group
        else:
            found[group] = found[group]._replace(is_complete=False)
    if not targets:
        return found
    for key, *counted in _COUNT.execute(connection, [(key,) for key in targets]):
        before = found[targets[key]]
        is_complete = before.is_complete and max(counted) < MOST_COUNTED
        found[targets[key]] = DeliveryCounts(before.waiting + counted[0], before.dead + counted[1], is_complete)
    return found


def end_groups(connection: Connection, protocol: str, groups: Collection[str], expires_at: datetime) -> None:
    """Set the time from which on the subscriptions of groups get no new events."""
    for some in batches(groups):
        connection.execute(update(subscriptions).where(*_of(protocol, some)).values(expires_at=expires_at))


def remove_groups(connection: Connection, protocol: str, groups: Collection[str]) -> None:
    """Remove groups; their waiting deliveries are discarded when they are due."""
    for some in batches(groups):
        connection.execute(delete(subscriptions).where(*_of(protocol, some)))


def waiting_groups(connection: Connection, protocol: str, groups: Collection[str]) -> set[str]:
    """Return the groups, of those given, that have waiting deliveries."""
    group_of: dict[int, str] = {}
    for some in batches(groups):
        query = select(subscriptions.c.ref, subscriptions.c.group).where(*_of(protocol, some))
        group_of.update({row.ref: row.group for row in connection.execute(query)})
    return {group_of[ref] for ref in waiting(connection, group_of)}


def _of(protocol: str, groups: Collection[str]) -> tuple[ColumnElement[bool], ...]:
    return subscriptions.c.protocol == protocol, subscriptions.c.group.in_(groups)


def _assign(
    targets: Sequence[Target], there: Sequence[Subscription]
) -> tuple[list[Subscription | None], list[Subscription]]:
    """Assign existing subscriptions to targets: first those with the same target, then any with the same sender.

    Returns:
        The subscription of each target, None where one has to be made; and the subscriptions left over.
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


def _counted(status: str) -> str:
    some = f"SELECT 1 FROM deliveries WHERE listener = given.listener AND status = '{status}' LIMIT {MOST_COUNTED}"
    return f"(SELECT count(*) FROM ({some}) AS counted)"


_COUNT = BulkStatement(
    f"SELECT given.listener, {_counted(WAITING)}, {_counted(DEAD)} FROM {{given}}", {"listener": "text"}
)

_OF_GROUP = (
    f'FROM subscriptions WHERE protocol = given.protocol AND "group" = given.name ORDER BY ref LIMIT {MOST_TARGETS + 1}'
)
_SOME_TARGETS = BulkStatement(
    "SELECT given.name, one.ref FROM {given} CROSS JOIN subscriptions AS one "
    f"WHERE one.ref IN (SELECT ref {_OF_GROUP})",
    {"protocol": "text", "name": "text"},
    postgresql=f"SELECT given.name, one.ref FROM {{given}} CROSS JOIN LATERAL (SELECT ref {_OF_GROUP}) AS one",
)
