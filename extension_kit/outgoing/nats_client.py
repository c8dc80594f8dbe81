"""Client of NATS: nats-py's, for one server and one connection. Imported on use only, because nats-py is an extra.

Left alone, nats-py sends the password in the clear if the server asks for no TLS, connects to any address that the
server names, and makes new connections behind its user's back, after which messages may be missing or come twice. It
keeps whatever a server sends in the memory, waits for a server that takes nothing, and stands still when a message has
a subject that is no UTF-8, or a header that JetStream uses for itself.
"""

import asyncio
import os
import ssl
from contextlib import suppress
from typing import Any, NamedTuple

from nats import errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.errors import APIError, NoStreamResponseError
from nats.protocol.parser import AWAITING_CONTROL_LINE, Parser

from extension_kit.outgoing.nats_credentials import NatsCredentials

_CLOSE_SECONDS = 2.0
_CONTROL_LINE = 64 * 1024  # bytes; servers use 4 KB for lines, and more for what they tell of themselves
_ACKNOWLEDGED = b"$JS.ACK."  # begins the reply subjects of a stream's messages
_STATUS = "Status"


class NatsLogin(NamedTuple):
    """Login at a server: a user name and a password, a token, the text of a credentials file, or nothing."""

    username: str = ""
    password: str = ""
    token: str = ""
    credentials: str = ""


class _Parser(Parser):
    """nats-py's parser, with limits for what a server sends."""

    def __init__(self, client: Client, most_bytes: int) -> None:
        super().__init__(client)
        self._most_bytes = most_bytes

    async def parse(self, data: bytes = b"") -> None:
        await super().parse(data)
        is_line = self.state == AWAITING_CONTROL_LINE
        if (len(self.buf) > _CONTROL_LINE) if is_line else (self.needed > self._most_bytes):
            raise errors.ProtocolError("nats: more bytes than agreed")


class NatsClient(Client):
    """A connection to one server, which ends when the connection does.

    Args:
        most_bytes: maximum size of a message from the server, with its headers.

    Attributes:
        refusal: the server's last message when it refused something, such as a permission; "" before that.
    """

    def __init__(self, most_bytes: int = _CONTROL_LINE) -> None:
        super().__init__()
        self.refusal = ""
        self._ps = _Parser(self, most_bytes)
        self._ending: asyncio.Task[None] | None = None

    @classmethod
    async def dial(
        cls,
        host: str,
        port: int,
        *,
        login: NatsLogin,
        tls: ssl.SSLContext | None = None,
        tls_hostname: str = "",
        timeout: float,
        ping_interval: float = 10.0,
        most_bytes: int = _CONTROL_LINE,
    ) -> "NatsClient":
        """Connect to a server, and log in.

        Args:
            host: the server's name or address.
            port: its port.
            login: the login.
            tls: verifies the server, which then has to speak TLS; None: TLS is used only if the server asks for it.
            tls_hostname: the name in the server's certificate; by default the host.
            timeout: seconds for all of it.
            ping_interval: seconds between two questions if the server is there; after two without an answer the
                connection ends.
            most_bytes: maximum size of a message from the server, with its headers.

        Raises:
            OSError: there is no connection in time.
            nats.errors.Error: the server refuses the client.
        """
        try:
            credentials = NatsCredentials.parse(login.credentials) if login.credentials else None
        except ValueError as error:
            raise errors.Error(str(error)) from None
        client = cls(most_bytes)
        options: dict[str, Any] = {
            "user": login.username or None,
            "password": login.password or None,
            "token": login.token or None,
            "user_jwt_cb": credentials and (lambda: credentials.token),
            "signature_cb": credentials and credentials.sign,
            "tls": tls,
            "tls_hostname": tls_hostname or None,
        }
        connecting = client.connect(
            f"nats://{f'[{host}]' if ':' in host else host}:{port}",
            name="extension-kit",
            error_cb=client._note,
            allow_reconnect=False,
            connect_timeout=max(timeout, 0.001),  # type: ignore[arg-type]  # any number of seconds does
            ping_interval=ping_interval,  # type: ignore[arg-type]
            max_outstanding_pings=2,
            **options,
        )
        try:
            await asyncio.wait_for(connecting, timeout)
        except BaseException as error:
            await client.end()
            raise _plain(error) from None
        return client

    async def end(self) -> None:
        """Send the waiting messages, and close the connection; after two seconds leave them."""
        try:
            with suppress(Exception):
                await asyncio.wait_for(self.close(), _CLOSE_SECONDS)
        finally:
            self._abort()

    async def abandon(self) -> None:
        """Close the connection at once: messages that wait are not sent."""
        self._abort()
        await self.end()

    def _abort(self) -> None:
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()

    async def _read_loop(self) -> None:
        await super()._read_loop()
        if not self.is_closed:  # after an error that nats-py only logs
            self._ending = asyncio.create_task(self.end())

    def _build_message(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> Msg:
        text = subject.decode(errors="backslashreplace")
        if headers and reply.startswith(_ACKNOWLEDGED):
            headers = {name: value for name, value in headers.items() if name != _STATUS}
        message: Msg = super()._build_message(sid, text.encode(), reply, data, headers)
        return message

    async def _note(self, error: Exception) -> None:
        self.refusal = reason_of_nats(error)

    async def _select_next_server(self) -> None:
        self._current_server = self._server_pool[0]
        await self._connect_to_server(self._current_server)

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        if "tls" in self.options:
            info["tls_required"] = True
        info.pop("connect_urls", None)
        await super()._process_info(info, initial_connection)


def reason_of_nats(error: BaseException) -> str:
    """Return the reason of an error of NATS, or of a connection to it, in a few words, without credentials."""
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, NoStreamResponseError):
        return "no stream takes the subject, or JetStream is not enabled"
    if isinstance(error, APIError):
        return error.description or "JetStream is not available"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).removeprefix("nats: ").strip(" '") or type(error).__name__


def _plain(error: BaseException) -> BaseException:
    """Return the error to raise for one of connecting: without addresses, and of the network or NATS."""
    if isinstance(error, OSError) and error.errno and not isinstance(error, ssl.SSLError):
        return OSError(error.errno, os.strerror(error.errno))
    if isinstance(error, Exception) and not isinstance(error, OSError | errors.Error):
        return errors.Error(f"the connection failed ({type(error).__name__})")
    return error
