"""Plays a Steadybit agent against an extension: reads its registration document and sends it events."""

from extension_kit.agent.report import Report as Report
from extension_kit.agent.simulator import Agent as Agent
