"""Exceptions of the kit. The first line of a class's docstring is its default message."""

import shlex
from collections.abc import Sequence


class ExtensionKitError(Exception):
    """Something in extension-kit went wrong."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or type(self).__name__).partition("\n")[0])


class RenamedWarning(DeprecationWarning):
    """A public name is used that will be removed in the next minor release; the message has the new one."""


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
        message: one line with the database, the reason and the remedy.
        retry_after: seconds to wait before trying again.
    """

    def __init__(self, message: str | None = None, retry_after: float = 5.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class StoreSilent(StoreUnavailable):
    """The database has not answered in time."""


class StoreFull(StoreUnavailable):
    """The database has no room for more."""


class OlderSchema(StoreError):
    """The database has to be upgraded by ``extension-kit db upgrade``, as the message says.

    Args:
        problem: a sentence with the database, without the remedy.
        extension: name of the extension with the tables to upgrade; None: the kit's.
        targets: files, folders or modules of the extensions for the command, if they are known.
    """

    def __init__(self, problem: str, extension: str | None = None, targets: Sequence[str] = ()) -> None:
        self.problem = problem
        command = shlex.join(["extension-kit", "db", "upgrade", *targets])
        whose = f" with the file or module of {extension}" if extension and not targets else ""
        super().__init__(f"{problem}: run `{command}`{whose}")


class NewerSchema(StoreError):
    """The database was upgraded by a later release of extension-kit."""


class GiveUp(ExtensionKitError):
    """Raised by a function to make its delivery a dead letter at once, because another attempt would fail, too.

    Args:
        message: the reason, for the log and the dead letter.
    """

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or "the function gave up, without a reason")


class NotReady(ExtensionKitError):
    """Raised by a function that can make no delivery at the moment, for example because its token is refused.

    The attempt does not count. All deliveries to the function wait, and one of them is tried from time to time.

    Args:
        reason: the reason, for the log and for readiness probes.
        retry_in: seconds until one delivery is tried again; one second at least.

    Raises:
        TypeError: ``retry_in`` is not a number.
    """

    def __init__(self, reason: str | None = None, retry_in: float = 30.0) -> None:
        if not _is_number(retry_in):
            raise TypeError(f"NotReady takes a number of seconds, such as retry_in=60, not {retry_in!r:.80}")
        super().__init__(reason or "the function is not ready, without a reason")
        self.retry_in = float(retry_in)


class RetryLater(ExtensionKitError):
    """Raised by a function to have its delivery retried after some seconds.

    Args:
        seconds: the wait before the next attempt, in place of the delay of the retry schedule.
        message: the reason, for the log and the delivery.

    Raises:
        TypeError: ``seconds`` is not a number.
    """

    def __init__(self, seconds: float, message: str | None = None) -> None:
        if not _is_number(seconds):
            raise TypeError(f"RetryLater takes a number of seconds, such as RetryLater(60), not {seconds!r:.80}")
        super().__init__(message or f"the function asked to be run again in {seconds:g} s")
        self.seconds = float(seconds)


class HandlerFileError(ConfigurationError):
    """A handler file or module cannot be loaded."""


def _is_number(value: object) -> bool:
    is_numeric = isinstance(value, int | float) and not isinstance(value, bool)
    return is_numeric and value == value  # not-a-number is unequal to itself
