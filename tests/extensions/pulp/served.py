"""Real servers of the extension, and receivers of what they send."""

import json
import threading
from collections import Counter
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.extensions.pulp.api import SECRET
from tests.extensions.pulp.clients import Bindings, Connection
from tests.support.paths import KIT
from tests.support.receivers import reply
from tests.support.servers import ready, run_server

PULP = str(Path(__file__).parents[3] / "extensions/pulp")
NAME, PASSWORD, TOKEN = "admin", "correct horse", "token of the notifications"
VARIABLES = {
    "EXTENSION_PULP_ADMIN_USERNAME": NAME,
    "EXTENSION_PULP_ADMIN_PASSWORD": PASSWORD,
    "EXTENSION_PULP_TOKEN": TOKEN,
    "EXTENSION_PULP_SECRET": SECRET,
    "EXTENSION_PULP_RETRY_SCHEDULE": "0.05,0.1,0.2,0.5x200",
    "EXTENSION_DELIVERY_ALLOW_NETWORKS": "127.0.0.0/8",
    "EXTENSION_STALLED_AFTER": 2,
}


@contextmanager
def serving(url, log, *arguments, **environment):
    with run_server([KIT, "serve", *arguments], log, EXTENSION_DATABASE_URL=url, **VARIABLES, **environment) as server:
        yield ready(server)


def bindings_of(server, name=NAME, password=PASSWORD):
    return Bindings(Connection(server.port, name, password))


def notify(server, event_type, repo_id="zoo", task_id=None, **payload):
    """Post a notification as the notifier of a Pulp server does."""
    report = None if task_id is None else {"task_id": task_id, "state": "running", "tags": []}
    body = {"event_type": event_type, "payload": {"repo_id": repo_id, **payload}, "call_report": report}
    return server.post(f"/pulp/notifications?token={TOKEN.replace(' ', '%20')}", body)


class Hook:
    """A receiver of notifications that writes down, in the order in which they came, those that it took.

    ``answer`` is given how many have come, from 1, and returns what it answers instead of 200; None: 200.
    """

    def __init__(self, receiver, answer=lambda number: None, **options):
        self.taken = []
        self.times = Counter()
        self._answer = answer
        self.came = 0
        self._lock = threading.Lock()
        self._start = partial(receiver, answer=self._take, **options)
        self.receiver = self._start()
        self.url = self.receiver.url("/hook?token=secret", "127.0.0.1")

    def close(self):
        """Close the port, and hang up."""
        self.receiver.server.close()

    def open_again(self):
        """Listen on the same port once more."""
        self.receiver = self._start(port=self.receiver.port)

    def _take(self, request):
        with self._lock:
            self.came += 1
            answer = self._answer(self.came)
            if answer is None:
                sent = json.loads(request.body)
                self.taken.append(sent)
                self.times[request.headers["webhook-id"]] += 1
        return answer or reply()

    @property
    def names(self):
        return [each["event_type"] for each in self.taken]

    @property
    def steps(self):
        """Repository, number of its task and event type of each, the second time they came left out."""
        found = (
            (each["payload"]["repo_id"], each["payload"]["number"], each["event_type"]) for each in list(self.taken)
        )
        return list(dict.fromkeys(found))
