import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from extensions import notify

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # in apprise


@pytest.fixture
def extension():
    return notify.extension


@pytest.fixture(autouse=True)
def messages(monkeypatch):
    """The messages that a channel of this machine gets."""
    found = []

    class Channel(BaseHTTPRequestHandler):
        def do_POST(self):
            found.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format, *arguments):
            pass

    with HTTPServer(("127.0.0.1", 0), Channel) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("EXTENSION_NOTIFY_URLS", f"oncall=json://127.0.0.1:{server.server_port}/")
        yield found
        server.shutdown()


def test_a_run_that_fails_is_one_message(agent, messages):
    agent.play(agent.factory.run(outcome="completed"))
    assert messages == []
    *_, last = agent.play(agent.factory.run(outcome="failed"))
    (message,) = messages
    assert message["title"] == f"{last.event['experimentExecution']['name']}: failed"
    assert message["type"] == "failure"
