"""Targets of an extension: durable listeners for which a sender of the kit makes the deliveries."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from extension_kit.deliveries.retry import RetrySchedule
from extension_kit.errors import RegistrationError
from extension_kit.events.listener import Listener, SenderTarget
from extension_kit.events.registry import Registry
from extension_kit.events.unfinished import unfinished_kind

if TYPE_CHECKING:
    from extension_kit.events.event import Event
    from extension_kit.senders import Message


class Forwarding:
    """The part of an extension that registers targets."""

    name: str
    registry: Registry

    def add_target(
        self,
        *event_names: str,
        name: str,
        target: Mapping[str, Any] | Callable[[], Mapping[str, Any]],
        make_message: "Callable[[Event], Message | None]",
        sender: str = "http",
        path: str | None = None,
        restrict_to: str = "leader",
        retry: Sequence[float] | None = None,
    ) -> None:
        """Have a sender of the kit send a message for every event with a matching name: a durable listener.

        The sender checks addresses, signs, heeds ``Retry-After``, and has circuit breakers, as for subscriptions. While
        a receiver answers 401 or 403, its deliveries wait as after ``NotReady``.

        Args:
            event_names: as for ``listen_to``.
            name: the listener's name. Deliveries are stored under the names of the extension and the listener, and the
                path.
            target: the target in the keys of the sender, such as ``{"url": "https://..."}``, or a function that returns
                it, which every process calls at its start.
            make_message: makes the message for an event; None: there is nothing to send. Its exceptions make the
                delivery a dead letter at once, except ``RetryLater`` and ``NotReady``.
            sender: ``http``, ``email``, ``amqp`` or ``nats``.
            path: the path that agents send the events to; by default ``/events/`` and the name.
            restrict_to: as for ``listen_to``.
            retry: as for ``listen_to``.

        Raises:
            RegistrationError: the declaration cannot work; the message says how to write it. A target is checked at the
                start of a service.
        """
        if not isinstance(target, Mapping) and (not callable(target) or unfinished_kind(target)):
            raise RegistrationError(
                f"{name}: a target is a mapping such as {{'url': 'https://...'}}, or a plain function that returns one"
            )
        if unfinished_kind(make_message):
            raise RegistrationError(f"{name}: make_message is a plain function: write it without async and yield")
        self.registry.add(
            Listener.of(
                make_message,
                event_names,
                extension=self.name,
                name=name,
                path=path,
                restrict_to=restrict_to,
                immediate=False,
                retry=None if retry is None else RetrySchedule.of(retry).delays,
                target=SenderTarget(sender, (lambda: target) if isinstance(target, Mapping) else target),
            )
        )
