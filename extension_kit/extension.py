"""The class ``Extension``: what a user imports, decorates functions with, and serves."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from flask import Flask

from extension_kit.errors import RegistrationError
from extension_kit.events.registry import IndexProvider, Listener, Registry
from extension_kit.service import Service
from extension_kit.settings import Settings
from extension_kit.web.app import create_app

FunctionT = TypeVar("FunctionT", bound=Callable[..., object])


class Extension:
    """An HTTP server that tells agents which events it wants, and runs functions when they arrive.

    Example:
        >>> from extension_kit import Event, Extension
        >>> extension = Extension("extension-oncall")
        >>> @extension.listen_to("experiment.execution.failed", "experiment.execution.errored")
        ... def page(event: Event) -> None:
        ...     print(event.experiment_execution.name)

    Args:
        name: what the extension is called, in logs and in its OpenAPI document.
        version: its version, shown in the same places.
    """

    def __init__(self, name: str, *, version: str = "unknown") -> None:
        if not isinstance(name, str) or not name.strip():
            raise RegistrationError(f"an extension needs a name, such as 'extension-oncall', not {name!r}")
        self.name = name
        self.version = version
        self.registry = Registry()

    def listen_to(
        self,
        *event_names: str,
        restrict_to: str = "leader",
        path: str | None = None,
        immediate: bool = False,
    ) -> Callable[[FunctionT], FunctionT]:
        """Run a function for every event whose name matches (Steadybit's Event API, listenTo and restrictTo).

        Args:
            event_names: exact names, ``*`` for all, or patterns such as ``experiment.execution.*``; a ``*`` stands for
                one part between dots, as the last part for one or more.
            restrict_to: which agents should call: ``leader``, ``any``, or another text that is passed on as it is.
            path: where agents send the events; by default ``/events/`` and the function's name with ``-`` for ``_``.
                Several functions may share a path.
            immediate: run the function before the event is answered: what it raises is the answer, 500. Every function
                runs so at present; say so where it must stay that way.

        Returns:
            A decorator that registers a function, taking the event or nothing, and returns it unchanged.

        Raises:
            RegistrationError: from the decorator, where this cannot work; the message says what to write instead.
        """
        if len(event_names) == 1 and callable(event_names[0]):
            raise RegistrationError("listen_to needs the names of events: write @extension.listen_to('...')")

        def register(function: FunctionT) -> FunctionT:
            self.registry.add(
                Listener.of(function, event_names, path=path, restrict_to=restrict_to, immediate=immediate)
            )
            return function

        return register

    def index(self, provider: IndexProvider) -> None:
        """Add keys of other kits, such as ``actions`` or ``discoveries``, to the registration document.

        Args:
            provider: a mapping, or a callable that returns one for each request.
        """
        if not callable(provider) and not isinstance(provider, Mapping):
            raise RegistrationError(f"extension.index takes a mapping or a function, not {provider!r:.80}")
        self.registry.providers.append(provider)

    @property
    def listeners(self) -> list[Listener]:
        """Everything registered so far."""
        return self.registry.listeners

    def create_app(self, settings: Settings | None = None) -> Flask:
        """Make the Flask application of this extension, for any WSGI server and for tests.

        Args:
            settings: by default those of the environment.

        Raises:
            ConfigurationError: there is no listener, or an environment variable has a bad value.
        """
        return create_app(Service.of([self], settings or Settings.from_environment()))
