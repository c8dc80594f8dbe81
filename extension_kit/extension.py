"""The class ``Extension``: registers event listeners, is served by the command line or as a Flask application."""

import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from extension_kit.deliveries.retry import MAX_DELAY, RetrySchedule, is_number
from extension_kit.errors import RegistrationError, RenamedWarning
from extension_kit.events.event import STEADYBIT
from extension_kit.events.listener import Listener
from extension_kit.events.patterns import check_pattern
from extension_kit.events.readable_state import ExtensionState
from extension_kit.events.registry import IndexProvider
from extension_kit.events.unfinished import unfinished_kind
from extension_kit.runtime.configured import Configured, SettingsT
from extension_kit.runtime.forwarding import Forwarding
from extension_kit.runtime.hooked import Hooked
from extension_kit.runtime.service import Service
from extension_kit.settings.kit import Settings

if TYPE_CHECKING:
    from flask import Flask

    from extension_kit.runtime.contract import EventProtocol

FunctionT = TypeVar("FunctionT", bound=Callable[..., object])


class Extension(Configured[SettingsT], Forwarding, Hooked):
    """A named set of event listeners, registered with agents and run when their events arrive.

    Example:
        >>> from extension_kit import Event, Extension
        >>> extension = Extension("extension-oncall")
        >>> @extension.listen_to("experiment.execution.failed", "experiment.execution.errored")
        ... def page(event: Event) -> None:
        ...     print(event.experiment_execution.name)

    Args:
        name: the extension's name, shown in logs and in its OpenAPI document.
        version: the extension's version, shown in the same places.
        settings: the class of its settings: a frozen dataclass of ``setting(...)`` fields, see
            ``extension_kit.protocol``. Their variables begin with ``EXTENSION_``.

    Raises:
        RegistrationError: the name is empty, or the settings are not declared as they have to be.
    """

    def __init__(self, name: str, *, version: str = "unknown", settings: "type[SettingsT] | None" = None) -> None:
        if not isinstance(name, str) or not name.strip():
            raise RegistrationError(f"an extension needs a name, such as 'extension-oncall', not {name!r}")
        super().__init__(name, settings)
        self.version = version
        self.protocols: list[EventProtocol[Any]] = []
        """Event protocols of other systems, added with ``add_protocol``."""
        self.state = ExtensionState()
        """The values that functions keep with ``event.state``, read outside deliveries once the extension is served."""

    def listen_to(
        self,
        *event_names: str,
        restrict_to: str = "leader",
        path: str | None = None,
        name: str | None = None,
        immediate: bool = False,
        retry: Sequence[float] | None = None,
        timeout: float | None = None,
    ) -> Callable[[FunctionT], FunctionT]:
        """Run a function for every event with a matching name (Steadybit's Event API, listenTo and restrictTo).

        Args:
            event_names: exact names, ``*`` for all, or patterns such as ``experiment.execution.*``; a ``*`` stands for
                one part between dots, as the last part for one or more.
            restrict_to: the agents that should call: ``leader``, ``any``, or another text, passed on unchanged.
            path: the path that agents send the events to; by default ``/events/`` and the name with ``-`` for ``_``.
                Several functions may share a path.
            name: the listener's name, by default that of the function. Deliveries are stored under the names of the
                extension and the listener, and the path. Functions of the same name need different listener names.
            immediate: run the function before the event is answered; an exception is answered with 500. Otherwise the
                event is committed to the database before it is answered, and the function runs in a worker: the
                events of one experiment execution one after the other, and again after an exception.
            retry: the retry schedule: seconds to wait after the first, second, ... failed attempt; by default about 28
                hours in all. When the attempt after the last wait fails, the delivery becomes a dead letter.
            timeout: seconds after which an attempt counts as failed; by default ``EXTENSION_FUNCTION_TIMEOUT``.

        Returns:
            A decorator that registers a function and returns it unchanged. The function takes the event or nothing. It
            may be an ``async def`` function: these run on one event loop of the process, which they must not block.

        Raises:
            RegistrationError: the declaration cannot work; the message says how to write it.
        """
        if len(event_names) == 1 and callable(event_names[0]):
            raise RegistrationError("listen_to needs the names of events: write @extension.listen_to('...')")
        if not isinstance(immediate, bool):
            raise RegistrationError(f"immediate is True or False, not {immediate!r:.80}")
        if immediate and (retry is not None or timeout is not None):
            raise RegistrationError("an immediate listener is never retried: leave retry and timeout out")
        if timeout is not None and not (is_number(timeout) and 0 < timeout <= MAX_DELAY):
            raise RegistrationError(
                f"timeout is a positive number of seconds, up to 30 days, such as timeout=10, not {timeout!r:.80}"
            )
        delays = None if retry is None else RetrySchedule.of(retry).delays

        def register(function: FunctionT) -> FunctionT:
            self.registry.add(
                Listener.of(
                    function,
                    event_names,
                    extension=self.name,
                    name=name,
                    path=path,
                    restrict_to=restrict_to,
                    immediate=immediate,
                    retry=delays,
                    timeout=timeout,
                )
            )
            return function

        return register

    def add_protocol(self, protocol: "EventProtocol[Any]") -> None:
        """Add the event protocol of another system: serve its routes and pass its events to listeners.

        Args:
            protocol: the protocol, see ``extension_kit.protocol``.

        Raises:
            RegistrationError: the protocol's source is Steadybit's, or a name is not a pattern.
        """
        self._refuse_while_configuring("add_protocol")
        if protocol.source == STEADYBIT:
            raise RegistrationError(f"{STEADYBIT!r} is the source of agents' events: name another system")
        if isinstance(protocol.names, str):
            raise RegistrationError(f"{protocol.source}: names are a tuple of patterns: write ({protocol.names!r},)")
        for pattern in protocol.names:
            check_pattern(pattern)
        self.protocols.append(protocol)
        self.registry.other_protocols.extend(protocol.names)

    def extend_index(self, provider: IndexProvider) -> None:
        """Add keys of other kits, such as ``actions`` or ``discoveries``, to the registration document.

        Args:
            provider: a mapping, or a callable that returns one for each request.

        Raises:
            RegistrationError: the provider is neither.
        """
        if not isinstance(provider, Mapping) and (not callable(provider) or unfinished_kind(provider)):
            raise RegistrationError(
                f"extension.extend_index takes a mapping, or a plain function that returns one, not {provider!r:.80}"
            )
        self.registry.providers.append(provider)

    def speak(self, protocol: "EventProtocol[Any]") -> None:
        """Call ``add_protocol``, by its former name."""
        warnings.warn("extension.speak is called extension.add_protocol now", RenamedWarning, stacklevel=2)
        self.add_protocol(protocol)

    def index(self, provider: IndexProvider) -> None:
        """Call ``extend_index``, by its former name."""
        warnings.warn("extension.index is called extension.extend_index now", RenamedWarning, stacklevel=2)
        self.extend_index(provider)

    def serve(self) -> NoReturn:
        """Serve the calling script, as ``extension-kit serve FILE`` does, until a signal arrives.

        For the end of a script: ``if __name__ == "__main__": extension.serve()``. The process becomes that command, and
        its web processes load the file again, as a module.

        Raises:
            RegistrationError: it is not called by the script, or module, that Python was started with.
        """
        caller = sys._getframe(1).f_globals
        spec, file = caller.get("__spec__"), caller.get("__file__")
        if caller.get("__name__") != "__main__" or not file:
            raise RegistrationError("extension.serve() is for scripts: call it below  if __name__ == '__main__':")
        target = spec.name if spec is not None else str(Path(file).resolve())  # a name after python -m
        sys.stdout.flush()
        sys.stderr.flush()
        os.execv(sys.executable, [sys.executable, "-m", "extension_kit", "serve", target])  # noqa: S606 (no shell)

    def create_app(self, settings: Settings | None = None, *, durable: bool = True) -> "Flask":
        """Make the Flask application of this extension, for any WSGI server and for tests.

        Args:
            settings: the settings; by default read from the environment.
            durable: False runs every function before the answer and needs no database, for tests.

        Raises:
            ConfigurationError: there is no listener, or an environment variable has a bad value.
        """
        # Imported here because workers and commands do without Flask, which takes long to import.
        from extension_kit.web.app import create_app

        return create_app(Service.of([self], settings or Settings.from_environment(), durable=durable).open())
