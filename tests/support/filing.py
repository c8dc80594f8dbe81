"""Filing of accepted events where no worker runs."""

from extension_kit.deliveries.filing import Filing
from extension_kit.deliveries.inbox import Inbox
from extension_kit.deliveries.outbox import Outbox
from extension_kit.deliveries.subscription_matching import matching
from tests.support.databases import opened


def filed(database):
    """File all accepted events of a database, and return their number."""
    inbox = Inbox(database)
    try:
        return Filing(inbox, Outbox(database, matching), database).file_all()
    finally:
        inbox.close()


def filed_at(url):
    """File all accepted events of the database at a URL, and return their number."""
    with opened(url, upgraded=False) as database:
        return filed(database)
