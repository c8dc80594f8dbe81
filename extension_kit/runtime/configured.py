"""Settings of an extension, and the functions that register the listeners that its settings decide."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from extension_kit.errors import ConfigurationError, RegistrationError
from extension_kit.events.registry import Listener, Registry
from extension_kit.events.unfinished import unfinished_kind
from extension_kit.observability.redaction import redact_text
from extension_kit.settings.declare import read_settings
from extension_kit.settings.extension_settings import check_settings_class

if TYPE_CHECKING:
    import typing_extensions
    from _typeshed import DataclassInstance

    # By the default, `Extension` in annotations stands for an extension with any settings, or none.
    SettingsT = typing_extensions.TypeVar(
        "SettingsT", bound=DataclassInstance, covariant=True, default=DataclassInstance
    )
else:
    SettingsT = TypeVar("SettingsT", covariant=True)


class Configured(Generic[SettingsT]):
    """The part of an extension that its settings configure.

    Args:
        name: the extension's name.
        settings: the class of its settings; None if it has none.
    """

    def __init__(self, name: str, settings: "type[SettingsT] | None") -> None:
        if settings is not None:
            check_settings_class(settings)
        self.name = name
        self.registry = Registry()
        self._settings_class = settings
        self._settings: SettingsT | None = None
        self._configure_functions: list[Callable[[Any], object]] = []
        self._is_configuring = False
        self._configured: list[Listener] = []

    @property
    def settings_class(self) -> "type[SettingsT] | None":
        """The class of its settings; None if it has none."""
        return self._settings_class

    @property
    def settings(self) -> SettingsT:
        """Its settings, read from the environment when they are first used, and anew when it is served.

        Raises:
            SettingError: a variable has a value that is not allowed.
            RegistrationError: the extension has no settings.
        """
        if self._settings is None:
            cls = self._refuse_without_settings("extension.settings")
            with _told_in_one_line(f"{self.name}: {cls.__name__}"):
                self._settings = read_settings(cls)
        return self._settings

    def configure(self, function: Callable[[SettingsT], None]) -> Callable[[SettingsT], None]:
        """Run a function with the settings when the extension is served, to register the listeners that they decide.

        It runs each time that the extension is put together, without the listeners of the time before. A
        ``SettingError`` or ``RegistrationError`` that it raises ends the start in one line.

        Example:
            >>> @extension.configure
            ... def add_channels(settings: OncallSettings) -> None:
            ...     for name in settings.channels:
            ...         extension.listen_to(*settings.events, name=name, path=f"/events/oncall/{name}")(page)

        Args:
            function: a plain function that takes the settings.

        Returns:
            The function, unchanged.

        Raises:
            RegistrationError: the extension has no settings, or the function cannot be run.
        """
        self._refuse_without_settings("extension.configure")
        self._refuse_while_configuring("configure")
        if not callable(function) or unfinished_kind(function):
            raise RegistrationError(f"extension.configure takes a plain function, not {function!r:.80}")
        self._configure_functions.append(function)
        return function

    @property
    def listeners(self) -> list[Listener]:
        """The listeners registered so far; once it was served, those that its settings decided, too."""
        return [*self.registry.listeners, *self._configured]

    def make_registry(self) -> Registry:
        """Read the settings anew, and make a registry of the declared listeners and of those that the settings decide.

        ``registry`` stays as it is declared.

        Raises:
            SettingError: a variable has a value that is not allowed, or a function of ``configure`` refuses it.
            RegistrationError: a listener cannot work, or a function of ``configure`` failed.
        """
        if self._settings_class is None:
            return self.registry
        self._settings = None
        settings, declared = self.settings, self.registry
        self.registry = made = Registry.merged([declared])
        self._is_configuring = True
        try:
            for function in self._configure_functions:
                name = getattr(function, "__name__", type(function).__name__)
                with _told_in_one_line(f"{self.name}: {name} of @extension.configure"):
                    function(settings)
        finally:
            self.registry, self._is_configuring = declared, False
        self._configured = [listener for listener in made.listeners if listener not in declared.listeners]
        return made

    def _refuse_without_settings(self, used: str) -> "type[SettingsT]":
        if self._settings_class is None:
            raise RegistrationError(
                f"{self.name} has no settings, which {used} needs: write Extension({self.name!r}, settings=...) with "
                "the class that declares them"
            )
        return self._settings_class

    def _refuse_while_configuring(self, method: str) -> None:
        if self._is_configuring:
            raise RegistrationError(
                f"extension.{method} is for the top level of the file, not for a function of @extension.configure"
            )


@contextmanager
def _told_in_one_line(place: str) -> Iterator[None]:
    """Make one line, for the start that it ends, of an exception in an extension's own code.

    Raises:
        RegistrationError: with the place and the exception, without recognised secrets.
    """
    try:
        yield
    except ConfigurationError:
        raise
    except Exception as error:
        told = redact_text(" ".join(str(error).split()))
        raise RegistrationError(f"{place}: {type(error).__name__}: {told}") from error
