"""Hooks of an extension: its functions that processes call at their start and stop, and ask from time to time."""

from collections.abc import Callable
from typing import TypeVar

from extension_kit.events.hooks import Hook
from extension_kit.events.registry import Registry

HookT = TypeVar("HookT", bound=Callable[[], object])


class Hooked:
    """The part of an extension that registers hooks: functions without arguments, plain or async.

    Each decorator returns its function unchanged. It raises ``RegistrationError`` for one that takes arguments or is a
    generator, and ``is_ready`` for the second of an extension.
    """

    name: str
    registry: Registry

    def on_start(self, function: HookT) -> HookT:
        """Call a function once in every process, before its first delivery, such as one that opens a connection.

        These are the workers and, if the extension has immediate listeners, the web processes. Several functions are
        called in the order in which they stand. An exception, or a call of more than 30 seconds, ends the process, and
        another is started.
        """
        self.registry.add_hook(Hook.of(function, self.name, "on_start"))
        return function

    def on_stop(self, function: HookT) -> HookT:
        """Call a function after the last delivery of a process in which ``on_start`` would be called.

        Several functions are called in the reverse order, in the rest of the grace period. An exception is logged; a
        function that takes longer is left behind.
        """
        self.registry.add_hook(Hook.of(function, self.name, "on_stop"))
        return function

    def is_ready(self, function: HookT) -> HookT:
        """Have workers ask a function every five seconds if deliveries can be made to this extension's functions.

        It is first asked before the first delivery. It returns None or True if they can, or a text: the reason why
        not. False, an exception, and no answer within ten seconds mean no, too. Deliveries wait meanwhile, events are
        accepted, and ``/health/readiness`` is 503 with the reason.
        """
        self.registry.add_hook(Hook.of(function, self.name, "is_ready"))
        return function

    def metrics(self, function: HookT) -> HookT:
        """Have workers ask a function every five seconds for metrics, which ``/metrics`` shows beside the kit's.

        It returns a list of metric families of ``prometheus_client.core``, of which no name begins with ``extension_``.
        That suits numbers that are read, such as sums of the state: every server and worker of one database shows the
        same. Numbers that a process counts are ordinary metrics of ``prometheus_client``, which need no function. While
        the function fails, its last result is shown.

        Example:
            >>> from prometheus_client.core import GaugeMetricFamily
            >>> @extension.metrics
            ... def pages() -> list[GaugeMetricFamily]:
            ...     return [GaugeMetricFamily("oncall_pages", "Pages.", extension.state.sums().get("pages", 0))]
        """
        self.registry.add_hook(Hook.of(function, self.name, "metrics"))
        return function
