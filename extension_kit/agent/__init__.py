"""Agent simulator: plays a Steadybit agent against an extension, by its registration document."""

from extension_kit.agent.report import Report as Report
from extension_kit.agent.simulator import Agent as Agent
