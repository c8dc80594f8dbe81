"""Roles of callers: fixed names of sets of permissions."""

from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from .access import EVERYTHING
from .answers import EventhosError

_RESOURCES = ("event", "system", "action", "contract")


@dataclass(frozen=True)
class Role:
    """Role of a client.

    Attributes:
        id: its number.
        identifier: its name.
        permissions: such as ``event:*``.
    """

    id: int
    identifier: str
    permissions: tuple[str, ...]


_ROLES = {
    role.id: role
    for role in (
        Role(1, "admin", (EVERYTHING,)),
        Role(2, "operator", tuple(f"{resource}:*" for resource in _RESOURCES)),
        Role(3, "viewer", tuple(f"{resource}:select" for resource in _RESOURCES)),
    )
}


def all_roles() -> list[dict[str, Any]]:
    """Return all roles as answers show them."""
    return [asdict(role) for role in _ROLES.values()]


def permissions_of(ids: Iterable[int]) -> list[str]:
    """Return the permissions of roles, sorted.

    Raises:
        EventhosError: 404, there is no such role.
    """
    permissions: set[str] = set()
    for id in ids:
        if id not in _ROLES:
            raise EventhosError(404, 404103, f"The role {id} does not exist: GET /auth/role lists them")
        permissions.update(_ROLES[id].permissions)
    return sorted(permissions)


def roles_of(permissions: Collection[str]) -> list[dict[str, Any]]:
    """Return the roles whose permissions are among these, as answers show the roles of a caller."""
    held = [role for role in _ROLES.values() if set(role.permissions) <= set(permissions)]
    return [{"id": role.id, "identifier": role.identifier} for role in held]
