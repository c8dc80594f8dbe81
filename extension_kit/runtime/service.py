"""Service: one or more extensions, put together to be served by one process."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from extension_kit.errors import RegistrationError
from extension_kit.events.event import FindStep
from extension_kit.events.function_pool import FunctionPool
from extension_kit.events.names import STEADYBIT_EVENT_NAMES
from extension_kit.events.receive import Receiver, Recorder
from extension_kit.events.registration_document import serialize
from extension_kit.events.registry import Registry
from extension_kit.events.traced_receive import TracedReceiver
from extension_kit.observability import tracing
from extension_kit.runtime.basic_auth import BasicCredentials
from extension_kit.runtime.cached import Cached
from extension_kit.runtime.contract import BoundProtocol, Declarations, settings_classes
from extension_kit.runtime.embedded import BackgroundStart
from extension_kit.runtime.process_hooks import ProcessHooks
from extension_kit.runtime.tracing import start_tracing
from extension_kit.settings.declare import declarations
from extension_kit.settings.environment import unknown_variables
from extension_kit.settings.extension_settings import refuse_contradictions
from extension_kit.settings.kit import Settings

if TYPE_CHECKING:
    from extension_kit.runtime.durable import DurableRuntime


@dataclass
class Service:
    """Extensions and settings, as both edges, Flask and ASGI, serve them.

    ``of`` puts a service together without touching the network or a database; ``open`` makes it ready to serve.

    Args:
        name: the names of the extensions, joined.
        version: the version of the extension, if there is one only.
        registry: the listeners of all extensions.
        settings: the kit's settings.
        protocols: other systems' event protocols, each with its settings.
        durable: False uses no database.
        recorder: if ``durable`` is False, takes the events of durable listeners; None treats them as immediate.
        find_step: if ``durable`` is False, finds the step for ``event.step``.
        extensions: the extensions.

    Attributes:
        runtime: the durable runtime, from ``open`` on; None for immediate listeners only.
        receiver: receives events, from ``open`` on.
        reasons: returns the reasons why functions are not run, here or in the worker beside a server.
    """

    name: str
    version: str
    registry: Registry
    settings: Settings
    protocols: Sequence[BoundProtocol[Any]] = ()
    durable: bool = True
    recorder: Recorder | None = None
    find_step: FindStep | None = None
    extensions: Sequence[Declarations] = ()
    runtime: "DurableRuntime | None" = field(init=False, default=None)
    receiver: Receiver = field(init=False)
    reasons: Callable[[], Sequence[str]] = field(init=False)

    def __post_init__(self) -> None:
        self.reasons = self._own_reasons

    def open(self) -> "Service":
        """Open the database, if there is a durable listener or a protocol, and return this service.

        Raises:
            ConfigurationError: the database's URL, the file of trusted authorities or the target of a listener cannot
                be used.
            StoreError: the database cannot be used, or has to be upgraded first.
        """
        settings = self.settings
        start_tracing(self.name, self.version)
        # Events published by protocols are delivered to immediate listeners, too.
        delivered_to = [each for each in self.registry.listeners if self.protocols or not each.immediate]
        if self.durable and (delivered_to or self.protocols):
            # Imported here: an extension with immediate listeners only needs neither a database nor its libraries.
            from extension_kit.runtime.durable import DurableRuntime

            has_immediate = any(each.immediate for each in self.registry.listeners)
            self.runtime = DurableRuntime(
                settings, delivered_to, self.protocols, has_immediate=has_immediate, hooks=self.hooks
            )
            for extension in self.extensions:
                extension.state.bind(self.runtime.states.reader(extension.name))
            if any(bound.protocol.delivery_format for bound in self.protocols):
                self.registry.include_subscriptions(_CachedNames(self.runtime.wanted_names))
        make_receiver: Callable[..., Receiver] = Receiver
        if tracing.spans is not None:
            make_receiver = partial(TracedReceiver, tracing.spans)
        self.receiver = make_receiver(
            self.registry,
            settings.validation,
            settings.duplicate_window,
            settings.duplicate_limit,
            self.runtime.recorder if self.runtime else self.recorder,
            self.runtime.find_step if self.runtime else self.find_step,
        )
        return self

    @cached_property
    def credentials(self) -> BasicCredentials | None:
        """The user name and password that agents must send; None if they are not set."""
        username, password = self.settings.basic_username, self.settings.basic_password
        return BasicCredentials(username, password) if username and password else None

    def _try_document(self) -> None:
        """Make the registration document once, so that an error is raised now and not for the first agent."""
        try:
            serialize(self.registry)
        except RegistrationError:
            raise
        except Exception as error:
            raise RegistrationError(f"extension.extend_index(...): {type(error).__name__}: {error}") from error

    @classmethod
    def of(
        cls,
        extensions: Sequence[Declarations],
        settings: Settings,
        *,
        durable: bool = True,
        recorder: Recorder | None = None,
        find_step: FindStep | None = None,
    ) -> "Service":
        """Put extensions together.

        Args:
            extensions: to be served.
            settings: the kit's settings.
            durable: False: use no database, and leave out other systems' event protocols, which need it.
            recorder: without a database, takes the events of durable listeners; None: they are treated as immediate.
            find_step: without a database, finds the step for ``event.step``.

        Raises:
            RegistrationError: there is nothing to serve, or two extensions contradict each other.
            SettingError: a setting of an extension or of a protocol has a bad value.
        """
        protocols = [BoundProtocol.read(each) for extension in extensions for each in extension.protocols]
        sources = [protocol.source for protocol in protocols]
        if repeated := {source for source in sources if sources.count(source) > 1}:
            raise RegistrationError(f"{', '.join(sorted(repeated))} is spoken by two extensions: serve one of them")
        called = [extension.name for extension in extensions]
        if repeated := {name for name in called if called.count(name) > 1}:
            raise RegistrationError(
                f"two extensions are called {', '.join(sorted(repeated))}, and deliveries are kept by that name: give "
                "each one of its own, or name a file once"
            )
        refuse_contradictions((each.name, cls) for each in extensions for cls in settings_classes(each))
        registry = Registry.merged(extension.make_registry() for extension in extensions)
        names = " + ".join(called)
        if not registry.listeners and not registry.providers and not protocols:
            raise RegistrationError(f"{names} has no listener: decorate a function with @extension.listen_to(...)")
        version = extensions[0].version if len(extensions) == 1 else "unknown"
        served = protocols if durable else ()
        service = cls(names, version, registry, settings, served, durable, recorder, find_step, extensions)
        service._try_document()
        return service

    @property
    def variables(self) -> set[str]:
        """Environment variables of the settings of extensions and protocols."""
        own = (each.settings_class for each in self.extensions if each.settings_class)
        classes = (*own, *(bound.protocol.settings for bound in self.protocols))
        return {declaration.variable for each in classes for _, declaration in declarations(each)}

    def doubts(self) -> list[str]:
        """Find probable mistakes, in sentences for the log of the start: misspelt settings, and doubts of protocols."""
        found = unknown_variables(self.variables)
        if self.runtime is None:
            asked = [hook.extension for hook in self.hooks.hooks if hook.kind == "is_ready"]
            found += [f"{name}: is_ready is never asked, as all listeners are immediate" for name in asked]
        else:
            found += [doubt for bound in self.protocols for doubt in bound.find_doubts(self.runtime.kit)]
        return found

    @property
    def lines(self) -> list[str]:
        """Log lines for the start: one for each listener."""
        return [
            f"Listening at POST {listener.path}: {listener.name}, {'immediate' if listener.immediate else 'durable'}, "
            f"for {', '.join(listener.patterns)}"
            for listener in self.registry.listeners
        ]

    @cached_property
    def hooks(self) -> ProcessHooks:
        """The hooks of this process."""
        return ProcessHooks(self.registry.hooks)

    @property
    def immediate_extensions(self) -> set[str]:
        """The names of the extensions with immediate listeners."""
        return {listener.extension for listener in self.registry.listeners if listener.immediate}

    @cached_property
    def _start(self) -> BackgroundStart:
        return BackgroundStart(self.hooks, self.settings.grace_period)

    def begin(self) -> None:
        """Begin in a WSGI process, with its first request: call hooks, and make deliveries, both in threads."""
        if self.runtime is not None:
            self.runtime.embed_worker()
        else:
            self._start.start()

    def _own_reasons(self) -> Sequence[str]:
        """Return the reasons why functions are not run in this process, a line for each."""
        if self.runtime is not None:
            return self.runtime.readiness.reasons()
        return [str(self.hooks.failure)] if self.hooks.failure else []

    @cached_property
    def pool(self) -> FunctionPool:
        """Threads for functions; made at the first use, so that a forked process has its own."""
        return FunctionPool(self.settings.web_threads, self.settings.queue_limit)


class _CachedNames:
    """Event names that agents can send and subscriptions want; the last known ones while the database is unavailable.

    Raises:
        StoreError: the database cannot be used at the start.
    """

    def __init__(self, find: Callable[[Sequence[str]], Sequence[str]]) -> None:
        self._cached = Cached(partial(find, STEADYBIT_EVENT_NAMES))
        self._names = find(STEADYBIT_EVENT_NAMES)

    def __call__(self) -> Sequence[str]:
        if (found := self._cached()) is not None:
            self._names = found
        return self._names
