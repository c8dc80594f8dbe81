"""Event listener extensions for Steadybit agents: decorated functions become a running, validated HTTP server.

``Extension`` is where an extension begins; its functions are given an ``Event``. An extension that speaks the event
protocol of another system also imports ``extension_kit.protocol``, and tests use ``extension_kit.testing``.
"""

from extension_kit.errors import (
    ConfigurationError,
    ExtensionKitError,
    GiveUp,
    NotReady,
    RegistrationError,
    RetryLater,
    SettingError,
)
from extension_kit.events.event import Event
from extension_kit.events.principals import AccessTokenPrincipal, BatchPrincipal, Principal, UserPrincipal
from extension_kit.events.state import State
from extension_kit.events.steadybit import (
    ExperimentExecution,
    ExperimentStepExecution,
    ExperimentStepTargetExecution,
)
from extension_kit.extension import Extension

__all__ = [
    "AccessTokenPrincipal",
    "BatchPrincipal",
    "ConfigurationError",
    "Event",
    "ExperimentExecution",
    "ExperimentStepExecution",
    "ExperimentStepTargetExecution",
    "Extension",
    "ExtensionKitError",
    "GiveUp",
    "NotReady",
    "Principal",
    "RegistrationError",
    "RetryLater",
    "SettingError",
    "State",
    "UserPrincipal",
]
