"""A NATS server for the demonstration, with a stream of CloudEvents.

Usage: demo_nats.py NATS_SERVER FILE TAKEN. It writes its URL into the file, and ends when that is removed. When all
messages have been acknowledged, it says so in the other file.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import nats
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

_STREAM, _CONSUMER = "ORDERS", "extension-kit"
_LOOK = 0.2  # seconds


def messages() -> list[tuple[str, bytes]]:
    """Return the messages, each with its subject."""
    made: list[tuple[str, bytes]] = []
    for number in range(1, 4):
        for shop in ("berlin", "zurich"):
            order = {
                "specversion": "1.0",
                "id": str(number),
                "source": f"/shops/{shop}",
                "type": f"com.example.order.{'created' if number == 1 else 'changed'}",
                "data": {"total": number * 10},
            }
            made.append((f"orders.{shop}", json.dumps(order).encode()))
    return [*made[:3], made[0], ("orders.berlin", b"Hello!"), *made[3:]]


async def show(directory: Path, file: Path, taken: Path) -> None:
    """Publish the messages, and wait until the file is removed."""
    while not (ports := list(directory.glob("*.ports"))):
        await asyncio.sleep(_LOOK)
    url = json.loads(ports[0].read_text())["nats"][0]
    client = await nats.connect(url)
    jetstream = client.jetstream()
    await jetstream.add_stream(name=_STREAM, subjects=["orders.*"])
    await jetstream.add_stream(name="REJECTED", subjects=["rejected"])
    for subject, body in messages():
        await jetstream.publish(subject, body)
    file.write_text(url)
    while file.exists():
        if not taken.exists() and await _is_taken(jetstream):
            taken.write_text("All messages are acknowledged.\n")
        await asyncio.sleep(_LOOK)
    await client.close()


async def _is_taken(jetstream: JetStreamContext) -> bool:
    try:
        info = await jetstream.consumer_info(_STREAM, _CONSUMER)
    except NotFoundError:
        return False
    return not info.num_pending and not info.num_ack_pending


def main(program: str, file: Path, taken: Path) -> None:
    """Run the server, at any free port of this machine, until the file is removed."""
    with tempfile.TemporaryDirectory() as directory:
        options = ["--addr", "127.0.0.1", "--port", "-1", "--ports_file_dir", directory, "--jetstream"]
        server = subprocess.Popen([program, *options, "--store_dir", directory], stderr=subprocess.DEVNULL)  # noqa: S603
        try:
            asyncio.run(show(Path(directory), file, taken))
        finally:
            server.terminate()
            server.wait(10)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
