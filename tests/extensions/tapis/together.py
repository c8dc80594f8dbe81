"""Requests that arrive at the same time, as a web process of ``serve`` answers them."""

import asyncio
import json
from typing import Any, NamedTuple

from extension_kit.server.asgi import AsgiApplication
from tests.extensions.tapis.api import BASE


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    json: dict[str, Any]


def event(**more):
    return {"source": "https://tapis.io/jobs", "type": "jobs.a.b", "timestamp": "2024-06-12T14:03:21Z", **more}


def publish_together(world, *bodies, headers=None, path="/events/publish", query=""):
    """Publish events at the same time, with the headers of Jobs or, for each, with its own; return the answers."""
    jobs = world.jobs().headers
    application = AsgiApplication(world.service)

    async def ask(body, own):
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        parts, answered = [{"type": "http.request", "body": sent, "more_body": False}], []

        async def receive():
            return parts.pop() if parts else {"type": "http.disconnect"}

        async def send(message):
            answered.append(message)

        pairs = {"content-length": str(len(sent)), **(jobs if own is None else own)}
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "POST",
            "path": f"{BASE}{path}",
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in pairs.items()],
        }
        await application(scope, receive, send)
        found = {name.decode(): value.decode() for name, value in answered[0]["headers"]}
        return Answer(answered[0]["status"], found, json.loads(b"".join(each["body"] for each in answered[1:])))

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
        owners = headers or [None] * len(bodies)
        answers = await asyncio.wait_for(asyncio.gather(*map(ask, bodies, owners)), 60)
        ended.set()
        await living
        return answers

    return asyncio.run(run())
