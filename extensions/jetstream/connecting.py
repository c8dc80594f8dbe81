"""Connections to NATS, and the durable consumer from which messages are fetched."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from nats.errors import Error
from nats.js import JetStreamContext, api
from nats.js.errors import NotFoundError

from extension_kit.protocol import NatsClient, NatsLogin

from .settings import JetStreamSettings

_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 5.0
_PING_SECONDS = 5.0
_MOST_BYTES = 65 * 1024**2  # a server's messages have at most 64 MB; those that are too large for the kit are rejected
_EXPLICIT = api.AckPolicy.EXPLICIT
_NO_STREAM = 10059  # JetStream's number of that error


class Unusable(Exception):
    """The stream or its consumer cannot be used as it is. The text has the reason and the remedy."""


class Session(NamedTuple):
    """A connection, JetStream on it, and the subscription by which messages are fetched."""

    client: NatsClient
    jetstream: JetStreamContext
    messages: JetStreamContext.PullSubscription


@asynccontextmanager
async def connected(settings: JetStreamSettings) -> AsyncIterator[Session]:
    """Connect to the first server that answers, and open the consumer.

    Raises:
        Unusable: the stream or its consumer cannot be used.
        OSError: no server can be reached.
        nats.errors.Error: the server refuses the client.
    """
    client = await _dial(settings)
    try:
        jetstream = client.jetstream(timeout=_ANSWER_SECONDS)
        await _open_consumer(jetstream, settings)
        yield Session(client, jetstream, await jetstream.pull_subscribe_bind(settings.consumer, settings.stream))
    finally:
        await client.end()


async def _dial(settings: JetStreamSettings) -> NatsClient:
    """Connect to the first server that answers.

    Raises:
        OSError: no server can be reached.
        nats.errors.Error: the last server refuses the client.
    """
    login = NatsLogin(settings.username, settings.password, settings.token, settings.credentials)
    context = settings.tls_context()
    failure: Exception = Unusable("there is no server")
    for server in settings.servers:
        try:
            return await NatsClient.dial(
                server.host,
                server.port,
                login=login,
                tls=context if server.is_tls else None,
                timeout=_CONNECT_SECONDS,
                ping_interval=_PING_SECONDS,
                most_bytes=_MOST_BYTES,
            )
        except (OSError, Error) as error:
            failure = error
    raise failure


async def _open_consumer(jetstream: JetStreamContext, settings: JetStreamSettings) -> None:
    """Make the durable consumer, or change its settings.

    NATS keeps the order of the stream only among messages of which at most one waits for its acknowledgement.

    Raises:
        Unusable: the stream does not exist, or the consumer is of another kind.
    """
    try:
        config = (await jetstream.consumer_info(settings.stream, settings.consumer)).config
    except NotFoundError as error:
        if error.err_code == _NO_STREAM:
            raise Unusable(f"the stream {settings.stream} does not exist: make it") from None
        config = api.ConsumerConfig(name=settings.consumer, durable_name=settings.consumer, ack_policy=_EXPLICIT)
    else:
        if config.deliver_subject or config.ack_policy != _EXPLICIT or config.max_deliver not in (None, -1):
            raise Unusable(
                f"the consumer {settings.consumer} of the stream {settings.stream} is no pull consumer with explicit "
                "acknowledgements and any number of deliveries: name another one with EXTENSION_JETSTREAM_CONSUMER"
            )
    wanted = config.evolve(
        max_ack_pending=settings.batch,
        ack_wait=settings.ack_wait,
        filter_subject=settings.subject or config.filter_subject,
    )
    if wanted != config:
        await jetstream.add_consumer(settings.stream, wanted)
