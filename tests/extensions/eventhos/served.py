"""Real servers of the extension."""

import json
from contextlib import contextmanager
from pathlib import Path

from tests.extensions.eventhos.api import ADMIN, CRYPTO_KEY, JWT_SECRET
from tests.support.paths import KIT
from tests.support.servers import ready, run_server

EVENTHOS = str(Path(__file__).parents[3] / "extensions/eventhos")
VARIABLES = {
    "EXTENSION_EVENTHOS_JWT_SECRET": JWT_SECRET,
    "EXTENSION_EVENTHOS_CRYPTO_KEY": CRYPTO_KEY,
    "EXTENSION_EVENTHOS_ADMIN_USER": ADMIN["username"],
    "EXTENSION_EVENTHOS_ADMIN_PASSWORD": ADMIN["password"],
    "EXTENSION_DELIVERY_ALLOW_NETWORKS": "127.0.0.0/8",
    "EXTENSION_STALLED_AFTER": 2,
}


@contextmanager
def serving(url, log, *others, **environment):
    """A server of the extension, and of others, on a database."""
    command = [KIT, "serve", EVENTHOS, *others]
    with run_server(command, log, EXTENSION_DATABASE_URL=url, **{**VARIABLES, **environment}) as server:
        yield ready(server)


class Client:
    """Speaks with a server as eventhos's web page does."""

    def __init__(self, server):
        self.server = server
        self.token = None

    def ask(self, method, path, body=None, status=200):
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"BEARER {self.token}"
        sent = None if body is None else json.dumps(body)
        answer = self.server.request(method, path, sent, headers)
        assert answer.status == status, answer.body
        return answer.json

    def make(self, path, body, name):
        return self.ask("POST", path, body, 201)["content"][name]
