"""Principals: typed views of the user, API token or platform job that caused an event."""

from typing import Any

from extension_kit.events.views import View, as_text, as_word


class Principal(View):
    """The principal that caused an event. An instance of this very class has an unknown ``principalType``."""

    __slots__ = ()

    @property
    def principal_type(self) -> str | Any:
        """The kind of principal in lower case: ``user``, ``access_token``, ``batch_job``, or one that was added."""
        return as_word(self._data.get("principalType"))

    @property
    def display_name(self) -> str | None:
        """The name, else the user name, else the id; None without any of them."""
        data = self._data
        return as_text(data.get("name")) or as_text(data.get("username")) or as_text(data.get("id")) or None


class UserPrincipal(Principal):
    """A user of the platform."""

    __slots__ = ()

    @property
    def username(self) -> str | Any:
        """The unique identifier of the user."""
        return as_text(self._data.get("username"))

    @property
    def name(self) -> str | Any:
        """The user's name for people."""
        return as_text(self._data.get("name"))

    @property
    def email(self) -> str | None:
        """The user's e-mail address; None where the platform knows none."""
        return as_text(self._data.get("email"))


class AccessTokenPrincipal(Principal):
    """An API token."""

    __slots__ = ()

    @property
    def id(self) -> str | Any:
        """The id of the token, which is not the secret."""
        return as_text(self._data.get("id"))

    @property
    def name(self) -> str | Any:
        """The token's name for people."""
        return as_text(self._data.get("name"))

    @property
    def token_type(self) -> str | Any:
        """The kind of token in lower case, ``admin`` or ``team``."""
        return as_word(self._data.get("tokenType"))


class BatchPrincipal(Principal):
    """A job of the platform itself."""

    __slots__ = ()

    @property
    def username(self) -> str | Any:
        """The unique identifier of the job."""
        return as_text(self._data.get("username"))


_PRINCIPALS: dict[str, type[Principal]] = {
    "user": UserPrincipal,
    "access_token": AccessTokenPrincipal,
    "batch_job": BatchPrincipal,
}


def as_principal(value: dict[str, Any] | None) -> Principal | None:
    """Return a view of a principal, of the class for its ``principalType``; None for null."""
    if value is None:
        return None
    kind = value.get("principalType")
    return _PRINCIPALS.get(kind.lower() if isinstance(kind, str) else "", Principal)(value)
