"""Queues of both stores, and deliveries in them."""

import pytest

from extension_kit.deliveries.hung_runs import HungRuns
from tests.support.queues import Deliveries


@pytest.fixture
def stored(database):
    """The deliveries of a database of each store."""
    return Deliveries(database)


@pytest.fixture
def stored_in_file(sqlite):
    """The deliveries of a SQLite database."""
    return Deliveries(sqlite)


@pytest.fixture
def hung_runs():
    return HungRuns(100, lambda: None)
