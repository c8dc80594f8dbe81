"""SMTP servers that put the mails they get into a mailbox."""

import asyncio
import email
import email.policy
import queue
import threading
from email.message import EmailMessage

import pytest
from aiosmtpd.smtp import SMTP

from tests.support.receivers import TIMEOUT


class Mailbox:
    """Takes mails. ``replies`` are the answers to RCPT by recipient, ``data`` that to DATA."""

    def __init__(self):
        self.envelopes = queue.Queue()
        self.replies: dict[str, list[str]] = {}
        self.data = "250 OK"
        self.sender_reply = None
        self.peers = set()
        self.quits = queue.Queue()

    async def handle_MAIL(self, server, session, envelope, address, options):
        if self.sender_reply:
            return self.sender_reply
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(self, server, session, envelope, address, options):
        answers = self.replies.get(address)
        if answers and (answer := answers.pop(0)) != "250 OK":
            return answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        self.peers.add(session.peer)
        if self.data.startswith("250"):
            self.envelopes.put(envelope)
        return self.data

    async def handle_QUIT(self, server, session, envelope):
        self.quits.put(session.peer)
        return "221 Bye"

    def mail(self) -> EmailMessage:
        content = self.envelopes.get(timeout=TIMEOUT).content
        return email.message_from_bytes(content, policy=email.policy.default)


@pytest.fixture
def mailbox():
    return Mailbox()


@pytest.fixture
def smtp(mailbox):
    """Start SMTP servers that put what they get into the mailbox; returns the port."""
    loop, started = asyncio.new_event_loop(), []
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    transports = []

    class Protocol(SMTP):  # which leaves some of its transports open
        def connection_made(self, transport):
            transports.append(transport)
            super().connection_made(transport)

    def run(coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(TIMEOUT)

    def start(tls=None, sock=None, **options) -> int:
        options = {"hostname": "mail.test", "loop": loop} | options
        where = {"sock": sock} if sock else {"host": "127.0.0.1", "port": 0}
        started.append(run(loop.create_server(lambda: Protocol(mailbox, **options), **where, ssl=tls)))
        return started[-1].sockets[0].getsockname()[1]

    async def stop():
        for server in started:
            server.close()
        for transport in transports:
            transport.abort()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    yield start
    run(stop())
    loop.call_soon_threadsafe(loop.stop)
    thread.join(TIMEOUT)
    loop.close()
