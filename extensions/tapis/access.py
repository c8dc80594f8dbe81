"""Who may do what (Tapis Notifications, live docs: Subscriptions)."""

from collections.abc import Mapping

from .envelope import ApiError
from .paging import boolean
from .settings import TapisSettings
from .tokens import Caller


class Access:
    """The rules.

    Subscriptions belong to a user of a tenant. This user, the tenant's administrators, and services may see and change
    them. Only services make them, publish events, and see or remove those of all owners at once.

    Args:
        settings: who the administrators are.
    """

    def __init__(self, settings: TapisSettings) -> None:
        self._admins = settings.admins

    def need_service(self, caller: Caller, key: str, what: str) -> None:
        """Refuse callers that are no services.

        Args:
            caller: who calls.
            key: of the error.
            what: only services do this.

        Raises:
            ApiError: 401.
        """
        if not caller.is_service:
            raise ApiError(401, key, f"only services {what} {caller}")

    def owner(self, caller: Caller, parameters: Mapping[str, str]) -> str:
        """Say whose subscriptions are meant: those of ``ownedBy``, by default those of the caller.

        Raises:
            ApiError: 401, the caller may not see or change them.
        """
        owner = parameters.get("ownedBy", "").strip() or caller.user
        self.need_right(caller, owner)
        return owner

    def owner_or_any(self, caller: Caller, parameters: Mapping[str, str]) -> str | None:
        """Say whose subscriptions are meant as ``owner`` does; None: those of all owners, by ``anyOwner``.

        Raises:
            ApiError: 401, the caller may not see or change them; 400, ``anyOwner`` is no boolean.
        """
        if not boolean(parameters, "anyOwner"):
            return self.owner(caller, parameters)
        self.need_service(caller, "NTFAPI_SUBSCR_UNAUTH", "may ask for the subscriptions of any owner")
        return None

    def need_right(self, caller: Caller, owner: str) -> None:
        """Refuse callers who may not see and change what a user of their tenant owns.

        Raises:
            ApiError: 401.
        """
        is_admin = f"{caller.user}@{caller.tenant}" in self._admins
        if not (caller.is_service or caller.user == owner or is_admin):
            raise ApiError(401, "NTFAPI_SUBSCR_UNAUTH", f"not authorized for what {owner:.60} owns {caller}")
