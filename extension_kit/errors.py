"""Exceptions of the kit. A docstring is the message where none is given."""


class ExtensionKitError(Exception):
    """Something in extension-kit went wrong."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.__doc__)


class ConfigurationError(ExtensionKitError):
    """The extension cannot start as it is configured.

    The command line prints the message as one line and exits with code 2.
    """


class SettingError(ConfigurationError):
    """An environment variable has a value that is not allowed."""


class RegistrationError(ConfigurationError):
    """A listener was declared in a way that cannot work."""


class HandlerFileError(ConfigurationError):
    """A handler file or module cannot be loaded."""
