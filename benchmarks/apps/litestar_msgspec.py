"""Litestar with msgspec. Its function runs on the event loop: one that blocks would hold up every other event."""

from litestar import Litestar, post

from benchmarks.apps.msgspec_structs import Event


@post("/events", status_code=200)
async def receive(data: Event) -> dict[str, object]:
    return {}


app = Litestar([receive])
