"""Consuming: messages are fetched from the stream, committed as events, and then acknowledged.

Every worker does so, with the same durable consumer. As long as ``EXTENSION_JETSTREAM_BATCH`` is 1, NATS hands out the
next message after the acknowledgement of the one before, to whichever worker asks: so the order of the stream is kept,
whoever is killed. A message that is delivered again is known by the source and id of its CloudEvent.
"""

import asyncio
import logging
import re
import threading
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from nats.aio.msg import Msg
from nats.errors import Error

from extension_kit.protocol import Kit, StoreError, reason_of_nats

from .cloud_events import CloudEvent, NotACloudEvent, read_cloud_event
from .connecting import Session, Unusable, connected
from .settings import JetStreamSettings

logger = logging.getLogger("extension_kit.jetstream")

REJECTED = "Extension-Rejected"
"""Header with the reason, of a message that goes to the subject of rejected ones."""

_FETCH_SECONDS = 1.0  # which a stop may have to wait
_BAD_REQUEST = 400  # of JetStream, as for a message that is too large for its stream
_OF_NATS = "nats-"
_HEAD = len("NATS/1.0\r\n\r\n")
_STOP_SECONDS = 30.0
_LOOK = 0.2  # seconds
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0  # seconds

_is_name = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch  # as nats-py wants it


class _Taken(NamedTuple):
    """A message with its CloudEvent."""

    message: Msg
    event: CloudEvent


class Consumer:
    """The consumer of a process, from its first ``consume`` to ``stop``."""

    def __init__(self) -> None:
        self._problem: str | None = None
        self._stopped = threading.Event()
        self._ended = threading.Event()
        self._ended.set()

    def consume(self, kit: Kit, settings: JetStreamSettings) -> None:
        """Take messages until ``stop``, with pauses that grow to 30 seconds while that is not possible."""
        self._ended.clear()
        try:
            asyncio.run(self._consume(kit, settings))
        finally:
            self._ended.set()

    def stop(self) -> None:
        """Take no further message, and return when those that were taken are acknowledged, or after half a minute."""
        self._stopped.set()
        self._ended.wait(_STOP_SECONDS)

    def problem(self) -> str | None:
        """Return the reason for which no message can be taken; None if there is none."""
        return self._problem

    async def _consume(self, kit: Kit, settings: JetStreamSettings) -> None:
        pause = _SHORTEST_PAUSE
        while not self._stopped.is_set():
            try:
                async with connected(settings) as session:
                    logger.info("Messages of the stream %s are taken", settings.stream)
                    while not self._stopped.is_set():
                        await self._take(kit, settings, session)
                        self._problem = None
                        pause = _SHORTEST_PAUSE
            except Exception as error:
                self._problem = _problem(error, settings)
                is_expected = isinstance(error, OSError | Error | Unusable)
                logger.log(
                    logging.DEBUG if is_expected else logging.ERROR,
                    "%s; the next try is in %g s",
                    self._problem,
                    pause,
                    exc_info=None if is_expected else error,
                )
                await self._wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    async def _take(self, kit: Kit, settings: JetStreamSettings, session: Session) -> None:
        """Take the messages that wait, for a second at most.

        Raises:
            OSError, nats.errors.Error: the connection has ended, or a permission lacks.
            Unusable: a rejected message cannot go to its subject.
        """
        try:
            messages = await session.messages.fetch(settings.batch, timeout=_FETCH_SECONDS)
        except TimeoutError:  # there is none
            if session.client.refusal:
                raise Error(session.client.refusal) from None
            return
        taken: list[_Taken] = []
        for message in messages:
            try:
                taken.append(_Taken(message, _read(kit, message)))
            except NotACloudEvent as error:
                await self._record(kit, settings, session, taken)  # what came before it
                taken = []
                await _reject(settings, session, message, str(error))
        await self._record(kit, settings, session, taken)

    async def _record(self, kit: Kit, settings: JetStreamSettings, session: Session, taken: Sequence[_Taken]) -> None:
        """Commit the events of messages, and acknowledge them. While the database cannot be used, neither is done."""
        pause = _SHORTEST_PAUSE
        told = ""
        while taken:
            try:
                with kit.transaction() as transaction:
                    transaction.publish(*(each.event for each in taken))
                break
            except StoreError as error:
                if str(error) != told:
                    logger.warning("Messages of the stream %s wait: %s", settings.stream, error)
                told = str(error)
            except Exception as error:  # because of one event, which must not hold up all others
                if len(taken) > 1:
                    for each in taken:
                        await self._record(kit, settings, session, [each])
                    return
                logger.exception("Cannot record an event of the stream %s", settings.stream)
                await _reject(settings, session, taken[0].message, f"{type(error).__name__} was raised")
                return
            if self._stopped.is_set():
                for each in taken:
                    await each.message.nak()
                return
            await self._wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        for each in taken:
            await each.message.ack()

    async def _wait(self, seconds: float) -> None:
        """Wait some seconds, or until ``stop``."""
        ends_at = time.monotonic() + seconds
        while not self._stopped.is_set() and (left := ends_at - time.monotonic()) > 0:
            await asyncio.sleep(min(left, _LOOK))


def _read(kit: Kit, message: Msg) -> CloudEvent:
    """Read the CloudEvent in a message.

    Raises:
        NotACloudEvent: it has none, or is too large.
    """
    if len(message.data) > kit.settings.max_body_bytes:
        raise NotACloudEvent("it is larger than EXTENSION_MAX_BODY_BYTES allows")
    return read_cloud_event(message.subject, message.headers or {}, message.data)


async def _reject(settings: JetStreamSettings, session: Session, message: Msg, reason: str) -> None:
    """Have a message never delivered again. If settings name a subject for it, it goes there before that."""
    headers = message.headers or {}
    # One that comes back, because the stream takes that subject, too, does not go round in a circle.
    subject = "" if REJECTED in headers else settings.rejected_subject
    logger.warning(
        "Message %d of the stream %s, with the subject %.200s, cannot be taken: %s. It %s",
        message.metadata.sequence.stream,
        settings.stream,
        message.subject,
        reason,
        f"goes to {subject}" if subject else "is dropped",
    )
    if subject:
        await _hand_on(session, subject, message, reason)
    await message.term()


async def _hand_on(session: Session, subject: str, message: Msg, reason: str) -> None:
    """Publish a message that is rejected, unless it cannot go to any stream as it is.

    Raises:
        Unusable: it cannot go to the subject now.
    """
    headers = {**_own(message.headers or {}), REJECTED: reason}
    size = len(message.data) + _HEAD + sum(len(f"{name}: {value}\r\n".encode()) for name, value in headers.items())
    if size > session.client.max_payload:
        logger.error("It is too large for %s, with the reason in a header, and is dropped", subject)
        return
    try:
        await session.jetstream.publish(subject, message.data, headers=headers)
    except (OSError, Error) as error:
        said = session.client.refusal or reason_of_nats(error)
        session.client.refusal = ""
        if getattr(error, "code", None) != _BAD_REQUEST:
            raise Unusable(f"a message that is rejected cannot go to {subject}: {said}") from None
        logger.error("It cannot go to %s, and is dropped: %s", subject, said)  # noqa: TRY400 (NATS says all there is)


def _own(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that a message may have in another stream: not those that tell NATS what to do with it."""
    return {name: value for name, value in headers.items() if _is_name(name) and not name.lower().startswith(_OF_NATS)}


def _problem(error: Exception, settings: JetStreamSettings) -> str:
    if isinstance(error, Unusable):
        return f"NATS: {error}"
    return f"{', '.join(map(str, settings.servers))} cannot be used: {reason_of_nats(error)}"
