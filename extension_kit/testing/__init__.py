"""Test support for extensions: made-up events and the pytest fixture ``agent``."""

from extension_kit.agent.factory import EventFactory as EventFactory
