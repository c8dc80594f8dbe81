"""Browsers that look at the event log, ways into it, and the time of the first event that tests look for."""

import base64
import re
from datetime import UTC, datetime
from ipaddress import ip_network

BEGAN = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOST = "127.0.0.1"
PASSWORD = "correct horse"
PROXY = {
    "event_log_trusted_header": "X-Forwarded-User",
    "event_log_trusted_proxies": (ip_network("10.0.0.0/8"), ip_network("fd00::/8")),
}
OPEN = {"event_log_open": "loopback"}


class Browser:
    """Somebody who looks at the pages, with the cookies of one browser.

    Args:
        app: the application.
        address: the TCP peer.
    """

    def __init__(self, app, address="192.0.2.1"):
        self._client = app.test_client()
        self._address = address

    def send(self, method, path, **options):
        options.setdefault("base_url", f"http://{HOST}:8082")
        options.setdefault("environ_base", {"REMOTE_ADDR": self._address})
        return self._client.open(path, method=method, **options)

    def get(self, path, **options):
        return self.send("GET", path, **options)

    def post(self, path, **options):
        return self.send("POST", path, **options)

    def cookie(self, name="event-log-8082"):
        return self._client.get_cookie(name, HOST).value

    def take_cookie(self, name, value):
        self._client.set_cookie(name, value, domain=HOST)

    def token(self, path="/login", **options):
        """The token of a page's form."""
        return re.search('name="csrf" value="([0-9a-f]{64})"', self.get(path, **options).text)[1]

    def log_in(self, password=PASSWORD, **options):
        """Log in as people do: by the form."""
        data = {"csrf": self.token(), "password": password, **options.pop("data", {})}
        return self.post("/login", data=data, **options)


def basic(user, password):
    """The header of basic authentication."""
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}
