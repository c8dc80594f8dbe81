"""Subscriptions: create, find, change and remove them (Tapis Notifications, live docs: Subscriptions)."""

import re
import secrets
import string
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy import ColumnElement, Connection, Row, delete, func, select, update

from extension_kit.protocol import batches, insert_or_ignore

from .delivery_targets import ANY_SUBJECT, Target, Targets
from .envelope import ApiError
from .paging import UNLIMITED, Page
from .tables import subscriptions
from .times import iso
from .tokens import Caller

_API_USER = "${apiuserid}"
_NAME_TRIES = 100
_LONGEST_PART = 40  # of a generated name
_ILLEGAL = re.compile(r"[^a-zA-Z0-9\-._~]")
_LETTERS = string.ascii_letters + string.digits

Subscription = Row[Any]
"""A row of ``tapis_subscriptions``."""


def create(targets: Targets, connection: Connection, caller: Caller, wanted: Mapping[str, Any]) -> Subscription:
    """Create a subscription.

    Args:
        targets: the groups of the kit's subscriptions.
        connection: of the same transaction.
        caller: a service.
        wanted: a loaded ``ReqPostSubscription``.

    Raises:
        ApiError: 409, its owner has a subscription of this name; 400, an address cannot be used.
    """
    now = datetime.now(UTC)
    owner = caller.user if wanted["owner"].lower() == _API_USER else wanted["owner"]
    uuid = str(uuid4())
    expiry = _expiry(wanted["ttl_minutes"], now)
    values = {
        "tenant": caller.tenant,
        "owner": owner,
        "description": wanted["description"],
        "enabled": wanted["enabled"],
        "type_filter": wanted["type_filter"],
        "subject_filter": wanted["subject_filter"],
        "delivery_targets": _targets_to_json(wanted["delivery_targets"]),
        "ttl_minutes": wanted["ttl_minutes"],
        "uuid": uuid,
        "expiry": expiry,
        "ends_at": expiry,
        "created": now,
        "updated": now,
    }
    for _ in range(1 if wanted["name"] else _NAME_TRIES):
        name = wanted["name"] or _generated_name(caller, owner, wanted["subject_filter"])
        added = insert_or_ignore(connection, subscriptions, {"name": name, **values}, returning=subscriptions.columns)
        if (row := added.one_or_none()) is not None:
            targets.set(row)
            return row
    raise ApiError(409, "NTFAPI_SUBSCR_EXISTS", f"{owner} has a subscription called {name} already {caller}")


def find(connection: Connection, tenant: str, owner: str, name: str, *, lock: bool = False) -> Subscription | None:
    """Return the subscription of a name, or None; ``lock`` keeps its row locked until the commit."""
    mine = subscriptions.c.tenant == tenant, subscriptions.c.owner == owner, subscriptions.c.name == name
    return _find(connection, mine, lock=lock)


def find_by_uuid(connection: Connection, tenant: str, uuid: str, *, lock: bool = False) -> Subscription | None:
    """Return the subscription of a UUID, or None; ``lock`` keeps its row locked until the commit."""
    mine = subscriptions.c.tenant == tenant, subscriptions.c.uuid == uuid
    return _find(connection, mine, lock=lock)


def find_all(
    connection: Connection, tenant: str, owner: str | None, conditions: Sequence[ColumnElement[bool]], page: Page
) -> tuple[Sequence[Subscription], int | None]:
    """Return a page of the subscriptions that meet all conditions, and their total number if the page asks for it.

    Args:
        connection: the connection to read with.
        tenant: the tenant of the subscriptions.
        owner: their owner; None: all owners.
        conditions: SQL conditions on subscriptions.
        page: the page, with its order.
    """
    wanted = [subscriptions.c.tenant == tenant, *conditions]
    if owner is not None:
        wanted.append(subscriptions.c.owner == owner)
    total = None
    if page.compute_total:
        total = connection.execute(select(func.count()).select_from(subscriptions).where(*wanted)).scalar_one()
    if page.behind is not None:
        wanted.append(page.behind)
    query = select(subscriptions).where(*wanted).order_by(*page.order).offset(page.skip)
    if page.limit != UNLIMITED:
        query = query.limit(page.limit)
    return connection.execute(query).all(), total


def patch(targets: Targets, connection: Connection, row: Subscription, wanted: Mapping[str, Any]) -> None:
    """Change a locked subscription; attributes missing in ``wanted``, a loaded ``ReqPatchSubscription``, stay.

    Raises:
        ApiError: 400, an address cannot be used.
    """
    changes = {key: value for key, value in wanted.items() if value is not None}
    if "delivery_targets" in changes:
        changes["delivery_targets"] = _targets_to_json(changes["delivery_targets"])
    targets.set(change(connection, row, updated=datetime.now(UTC), **changes))


def enable(targets: Targets, connection: Connection, row: Subscription, *, enabled: bool) -> None:
    """Enable or disable a locked subscription; its time to live goes on meanwhile."""
    targets.set(change(connection, row, enabled=enabled, updated=datetime.now(UTC)))


def set_ttl(targets: Targets, connection: Connection, row: Subscription, minutes: int) -> None:
    """Set the time to live of a locked subscription: minutes from now, or for ever if they are not positive."""
    now = datetime.now(UTC)
    expiry = _expiry(minutes, now)
    targets.set(change(connection, row, ttl_minutes=minutes, expiry=expiry, ends_at=expiry, updated=now))


def remove(targets: Targets, connection: Connection, *rows: Subscription) -> None:
    """Remove subscriptions. Their waiting deliveries are not made."""
    targets.remove(rows)
    for some in batches(rows):
        connection.execute(delete(subscriptions).where(subscriptions.c.ref.in_([row.ref for row in some])))


def remove_by_subject(targets: Targets, connection: Connection, tenant: str, owner: str | None, subject: str) -> int:
    """Remove the subscriptions with exactly this subject filter, and return their number.

    Args:
        targets: the groups of the kit's subscriptions.
        connection: of the same transaction.
        tenant: the tenant of the subscriptions.
        owner: their owner; None: all owners.
        subject: the subject filter.
    """
    wanted = [subscriptions.c.tenant == tenant, subscriptions.c.subject_filter == subject]
    if owner is not None:
        wanted.append(subscriptions.c.owner == owner)
    rows = connection.execute(select_locked(wanted)).all()
    remove(targets, connection, *rows)
    return len(rows)


def to_json(row: Subscription, select: Collection[str]) -> dict[str, Any]:
    """Return the JSON of a subscription, with the selected attributes."""
    attributes = {
        "tenant": row.tenant,
        "name": row.name,
        "description": row.description,
        "owner": row.owner,
        "enabled": row.enabled,
        "typeFilter": row.type_filter,
        "subjectFilter": row.subject_filter,
        "deliveryTargets": row.delivery_targets,
        "ttlMinutes": row.ttl_minutes,
        "uuid": row.uuid,
        "expiry": iso(row.expiry) if row.expiry else None,
        "created": iso(row.created),
        "updated": iso(row.updated),
    }
    return {name: value for name, value in attributes.items() if name in select}


def select_locked(wanted: Sequence[ColumnElement[bool]]) -> Any:
    """Return a statement that selects subscriptions and locks their rows until the commit.

    Rows are locked in the order of their refs, so that two transactions cannot deadlock.
    """
    return select(subscriptions).where(*wanted).order_by(subscriptions.c.ref).with_for_update()


def change(connection: Connection, row: Subscription, **changes: Any) -> Subscription:
    """Change columns of a subscription, and return its new row."""
    changed = update(subscriptions).where(subscriptions.c.ref == row.ref).values(changes)
    return connection.execute(changed.returning(*subscriptions.c)).one()


def _find(connection: Connection, wanted: Sequence[ColumnElement[bool]], *, lock: bool) -> Subscription | None:
    return connection.execute(select_locked(wanted) if lock else select(subscriptions).where(*wanted)).one_or_none()


def _expiry(minutes: int, now: datetime) -> datetime | None:
    return now + timedelta(minutes=minutes) if minutes > 0 else None


def _targets_to_json(targets: Sequence[Mapping[str, Any]]) -> list[Target]:
    return [
        {"deliveryMethod": target["delivery_method"], "deliveryAddress": target["delivery_address"]}
        for target in targets
    ]


def _generated_name(caller: Caller, owner: str, subject: str) -> str:
    """Return a name in the form of Tapis, made only of characters that a path can hold."""
    about = "ALL" if subject == ANY_SUBJECT else subject[:_LONGEST_PART]
    random = "".join(secrets.choice(_LETTERS) for _ in range(4))
    parts = [caller.jwt_user[:_LONGEST_PART], owner[:_LONGEST_PART], caller.tenant[:_LONGEST_PART], about, random]
    return _ILLEGAL.sub("_", "~".join(parts)).lstrip("-._~")
