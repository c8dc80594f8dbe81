"""Requests that arrive at the same time, as a web process of ``serve`` answers them."""

import asyncio
import json
from typing import Any, NamedTuple

from extension_kit.server.asgi import AsgiApplication


class Asked(NamedTuple):
    path: str
    body: bytes
    headers: dict[str, str]
    query: str = ""
    method: str = "POST"


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask_together(service, *asked: Asked) -> list[Answer]:
    """Make requests to a service at the same time, and return the answers."""
    application = AsgiApplication(service)

    async def ask(one):
        parts, answered = [{"type": "http.request", "body": one.body, "more_body": False}], []

        async def receive():
            return parts.pop() if parts else {"type": "http.disconnect"}

        async def send(message):
            answered.append(message)

        pairs = {"content-length": str(len(one.body)), **one.headers}
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": one.method,
            "path": one.path,
            "query_string": one.query.encode(),
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in pairs.items()],
            "client": ("127.0.0.1", 12345),
        }
        await application(scope, receive, send)
        found = {name.decode().lower(): value.decode() for name, value in answered[0]["headers"]}
        return Answer(answered[0]["status"], found, b"".join(each.get("body", b"") for each in answered[1:]))

    async def run():
        steps, ended, started = [{"type": "lifespan.startup"}], asyncio.Event(), asyncio.Event()

        async def receive():
            if not steps:
                await ended.wait()
                return {"type": "lifespan.shutdown"}
            return steps.pop()

        async def send(message):
            started.set()

        living = asyncio.create_task(application({"type": "lifespan"}, receive, send))
        await started.wait()
        answers = await asyncio.wait_for(asyncio.gather(*map(ask, asked)), 60)
        ended.set()
        await living
        return answers

    return asyncio.run(run())
