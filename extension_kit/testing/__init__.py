"""For the tests of an extension: made-up events, and the pytest fixture ``agent``."""

from extension_kit.agent.factory import EventFactory as EventFactory
