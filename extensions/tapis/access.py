"""Access rules of subscriptions and events (Tapis Notifications, live docs: Subscriptions)."""

from collections.abc import Mapping

from .envelope import ApiError
from .paging import boolean
from .settings import TapisSettings
from .tokens import Caller


class Access:
    """The access rules.

    Subscriptions belong to a user of a tenant. This user, the tenant's administrators, and services may see and change
    them. Only services make them, publish events, and see or remove those of all owners at once.

    Args:
        settings: names the administrators of tenants.
    """

    def __init__(self, settings: TapisSettings) -> None:
        self._admins = settings.admins

    def require_service(self, caller: Caller, key: str, what: str) -> None:
        """Refuse a caller that is not a service.

        Args:
            caller: the caller.
            key: the key of the error.
            what: the action that only services may do, for the text of the error.

        Raises:
            ApiError: 401, the caller is not a service.
        """
        if not caller.is_service:
            raise ApiError(401, key, f"only services {what} {caller}")

    def owner(self, caller: Caller, parameters: Mapping[str, str]) -> str:
        """Return the owner of the subscriptions that a request is about: ``ownedBy``, by default the caller.

        Raises:
            ApiError: 401, the caller may not see or change them.
        """
        owner = parameters.get("ownedBy", "").strip() or caller.user
        self.require_access(caller, owner)
        return owner

    def owner_or_any(self, caller: Caller, parameters: Mapping[str, str]) -> str | None:
        """Return the owner as ``owner`` does, or None for the subscriptions of all owners (``anyOwner``).

        Raises:
            ApiError: 401, the caller may not see or change them; 400, ``anyOwner`` is no boolean.
        """
        if not boolean(parameters, "anyOwner"):
            return self.owner(caller, parameters)
        self.require_service(caller, "NTFAPI_SUBSCR_UNAUTH", "may ask for the subscriptions of any owner")
        return None

    def require_access(self, caller: Caller, owner: str) -> None:
        """Refuse a caller that may not see and change the subscriptions of a user of its tenant.

        Raises:
            ApiError: 401, the caller may not.
        """
        is_admin = f"{caller.user}@{caller.tenant}" in self._admins
        if not (caller.is_service or caller.user == owner or is_admin):
            raise ApiError(401, "NTFAPI_SUBSCR_UNAUTH", f"not authorized for what {owner:.60} owns {caller}")
