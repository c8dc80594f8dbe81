"""Listeners, an event and its document, and a worker that notifies: for tests of notifiers."""

import pytest

from tests.extensions.pulp.api import Worker

REPORT = {"task_id": "t1", "state": "finished", "_id": {"$oid": "4ff708048a905b7016000008"}}
PAYLOAD = {"repo_id": "zoo", "summary": "ä", "started": "2026-11-21T12:00:00Z"}
DOCUMENT = {"event_type": "repo.sync.finish", "payload": PAYLOAD, "call_report": REPORT}
LOCAL = {"EXTENSION_DELIVERY_ALLOW_NETWORKS": "127.0.0.0/8"}


@pytest.fixture
def start(make_api):
    """Make the API with its worker: ``start(EXTENSION_PULP_TIMEOUT="1")``."""

    def start(*others, **variables):
        api = make_api(*others, **{**LOCAL, **variables})
        return api, Worker(api)

    return start


def mail_settings(port):
    """Settings of a mail server on a port."""
    return {
        "EXTENSION_SMTP_HOST": "127.0.0.1",
        "EXTENSION_SMTP_PORT": str(port),
        "EXTENSION_SMTP_SECURITY": "none",
        "EXTENSION_SMTP_SENDER": "Pulp <pulp@example.com>",
    }


@pytest.fixture
def mail(smtp):
    """Settings of the mail server."""
    return mail_settings(smtp())


def listen(api, notifier="http", **config):
    return api.create(notifier_type_id=notifier, notifier_config=config, event_types=["*"])


def finish(api):
    return api.notify("repo.sync.finish", PAYLOAD, REPORT)


def only(rows):
    (row,) = rows
    return row
