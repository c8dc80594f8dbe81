"""Exceptions of the kit. The first line of a docstring is the message where none is given."""


class ExtensionKitError(Exception):
    """Something in extension-kit went wrong."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or type(self).__name__).partition("\n")[0])


class ConfigurationError(ExtensionKitError):
    """The extension cannot start as it is configured.

    The command line prints the message as one line and exits with code 2.
    """


class SettingError(ConfigurationError):
    """An environment variable has a value that is not allowed."""


class RegistrationError(ConfigurationError):
    """A listener was declared in a way that cannot work."""


class StoreError(ExtensionKitError):
    """The database cannot be used."""


class StoreUnavailable(StoreError):
    """The database cannot be used at the moment.

    Args:
        message: one line that says which database, why, and what to do.
        retry_after: seconds after which it may be tried again.
    """

    def __init__(self, message: str | None = None, retry_after: float = 5.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class StoreSilent(StoreUnavailable):
    """The database has not answered in time."""


class StoreFull(StoreUnavailable):
    """The database has no room for more."""


class OlderSchema(StoreError):
    """The database has to be upgraded: run `extension-kit db upgrade`."""


class NewerSchema(StoreError):
    """The database was upgraded by a later release of extension-kit."""


class GiveUp(ExtensionKitError):
    """Raised by a function: trying again is of no use, make the delivery a dead letter.

    Args:
        message: why; it stands in the log and with the dead letter.
    """

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or "the function gave up, without a reason")


class RetryLater(ExtensionKitError):
    """Raised by a function: try again, but not before some seconds have passed.

    Args:
        seconds: how long to wait, instead of what the retry schedule says.
        message: why; it stands in the log and with the delivery.

    Raises:
        TypeError: ``seconds`` is no number.
    """

    def __init__(self, seconds: float, message: str | None = None) -> None:
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds != seconds:  # not-a-number
            raise TypeError(f"RetryLater takes a number of seconds, such as RetryLater(60), not {seconds!r:.80}")
        super().__init__(message or f"the function asked to be run again in {seconds:g} s")
        self.seconds = float(seconds)


class HandlerFileError(ConfigurationError):
    """A handler file or module cannot be loaded."""
