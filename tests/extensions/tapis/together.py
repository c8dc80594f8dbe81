"""Events that arrive at the same time, as a web process of ``serve`` answers them."""

import json

from tests.extensions.tapis.api import BASE
from tests.support.together import Asked, ask_together


def event(**more):
    return {"source": "https://tapis.io/jobs", "type": "jobs.a.b", "timestamp": "2024-06-12T14:03:21Z", **more}


def publish_together(world, *bodies, headers=None, path="/events/publish", query=""):
    """Publish events at the same time, with the headers of Jobs or, for each, with its own; return the answers."""
    jobs = world.jobs().headers
    owners = headers or [None] * len(bodies)
    return ask_together(
        world.service,
        *(
            Asked(
                f"{BASE}{path}",
                body if isinstance(body, bytes) else json.dumps(body).encode(),
                jobs if own is None else own,
                query,
            )
            for body, own in zip(bodies, owners, strict=True)
        ),
    )
