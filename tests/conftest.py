"""Fixtures of all tests: extensions that are served, and bodies of events."""

import itertools
import os
import signal

import pytest

from tests.support.leftovers import pytest_configure, pytest_unconfigure
from tests.support.loaded_files import loaded_files_forgotten
from tests.support.paths import DATA
from tests.support.servers import serve_app

__all__ = ["pytest_configure", "pytest_unconfigure"]  # hooks

# Test traffic goes to this machine, through no proxy of whoever runs the tests.
for _name in [name for name in os.environ if name.lower().endswith("_proxy")]:
    del os.environ[_name]

# A shell ignores SIGINT in what it starts in the background, and all processes of the tests would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _forget_loaded_files():
    with loaded_files_forgotten():
        yield


@pytest.fixture
def served(tmp_path):
    """Serve an extension of tests/apps: ``with served("oncall", EXTENSION_WEB_WORKERS=2) as server``."""
    numbers = itertools.count()
    return lambda target, **options: serve_app(target, tmp_path / f"server-{next(numbers)}.log", **options)


@pytest.fixture
def event():
    """Bodies that are valid in both modes, each with an id of its own."""
    from extension_kit.agent.factory import EventFactory

    return EventFactory().event


@pytest.fixture
def fixture_body():
    """The recorded bodies of tests/data/steadybit, by name."""
    return lambda name: (DATA / "steadybit" / name).read_bytes()
