"""Clients of the event log's application that act, in this process."""

import json
from contextlib import contextmanager
from functools import cached_property

from extension_kit.event_log.app import ACTIONS, create_app
from extension_kit.event_log.context import EventLog
from extension_kit.event_log.shared_pages import SharedPages
from extension_kit.runtime.service import Service
from extension_kit.settings.kit import Settings
from tests.support.event_log import HOST, OPEN, Browser


class LogClient(Browser):
    """Somebody who looks at the event log of a database, and acts."""

    def __init__(self, app):
        super().__init__(app)
        self.app = app
        self.actions = app.extensions[ACTIONS]

    @cached_property
    def csrf(self):
        """The token of this browser's session, as forms have it."""
        return self.token("/deliveries")

    def send_form(self, path, **fields):
        """Send a form with the token."""
        return self.post(path, data={"csrf": self.csrf, **fields})

    def send_json(self, path, body, **headers):
        return self.post(path, data=json.dumps(body), headers=headers)


@contextmanager
def log_client(database, *extensions, **settings):
    """A client of an event log that everybody on this machine may use, unless settings say otherwise.

    It shares no pages, so that tests see at once what they have changed.
    """
    url = database.url.render_as_string(hide_password=False)
    kit = Settings(database_url=url, **{**OPEN, **settings})
    service = Service.of(extensions, kit) if extensions else None
    client = LogClient(create_app(EventLog(kit, database, service, SharedPages(0, most_seconds=0))))
    try:
        yield client
    finally:
        client.actions.stop(10)


ORIGIN = f"http://{HOST}:8082"
"""Origin of its pages."""
