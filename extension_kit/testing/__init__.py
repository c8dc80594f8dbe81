"""Test support for extensions: the fixture ``agent``, its results, and made-up events.

The names are imported at their first use: every pytest run in an environment with the kit loads this package.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from extension_kit.agent.factory import EventFactory as EventFactory
    from extension_kit.testing.agent import Answer as Answer
    from extension_kit.testing.agent import Call as Call
    from extension_kit.testing.agent import InMemoryAgent as InMemoryAgent
    from extension_kit.testing.agent import Sent as Sent
    from extension_kit.testing.worker import Delivery as Delivery

_MODULES = {
    "Answer": "extension_kit.testing.agent",
    "Call": "extension_kit.testing.agent",
    "Delivery": "extension_kit.testing.worker",
    "EventFactory": "extension_kit.agent.factory",
    "InMemoryAgent": "extension_kit.testing.agent",
    "Sent": "extension_kit.testing.agent",
}

__all__ = ["Answer", "Call", "Delivery", "EventFactory", "InMemoryAgent", "Sent"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
