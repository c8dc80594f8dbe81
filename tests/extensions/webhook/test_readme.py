"""The README of the webhook extension shows events as they are sent."""

import json
import re
from pathlib import Path

from extension_kit.testing import InMemoryAgent
from extensions import webhook

README = Path(webhook.__file__).with_name("README.md")


def test_the_cloud_event_of_the_readme_is_one_that_is_sent(monkeypatch):
    readme = README.read_text(encoding="utf-8")
    shown = json.loads(re.search(r"\n\n(\{.*?\n\})\n```", readme, re.DOTALL)[1])
    monkeypatch.setenv("EXTENSION_WEBHOOK_URL", "https://receiver.test/")
    monkeypatch.setenv("EXTENSION_WEBHOOK_FORMAT", "cloudevents")
    (message,) = InMemoryAgent(webhook.extension).send("experiment.execution.failed").messages
    assert list(json.loads(message.body)) == list(shown)
    assert shown["source"].rpartition("/")[0] == "/steadybit"
    assert message.content_type in readme
