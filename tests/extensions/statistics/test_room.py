"""The state of the extension has room for the runs of a large organization."""

from datetime import UTC, datetime, timedelta

import time_machine

from extension_kit.testing import InMemoryAgent
from extensions.statistics import extension


def test_a_run_is_remembered_for_a_week_only():
    agent = InMemoryAgent(extension)
    agent.play(agent.factory.run())
    with time_machine.travel(datetime.now(UTC) + timedelta(days=6)):
        assert [key for key in agent.state if key.startswith("run\x1f")]
    with time_machine.travel(datetime.now(UTC) + timedelta(days=8)):
        assert not [key for key in agent.state if key.startswith("run\x1f")]
