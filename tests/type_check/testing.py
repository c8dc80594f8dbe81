"""The tests that users write for their extensions type-check, too."""

from collections.abc import Iterator
from typing import Any, Literal, assert_type

from extension_kit import Event, Extension
from extension_kit.testing import EventFactory
from extension_kit.testing.agent import InMemoryAgent


def test_pages_when_an_experiment_fails(agent: InMemoryAgent) -> None:
    sent = agent.send("experiment.execution.failed", experiment_key="SHOP-7", team={"key": "SHOP"})
    assert_type(sent.status, int | None)
    assert_type(sent.ran, list[str])
    assert_type(sent.event, Any)
    assert_type(sent.error, BaseException | None)
    assert_type(sent.calls[0].event, Event)
    assert_type(sent.deliveries[0].status, Literal["delivered", "dead", "waiting"])
    assert_type(sent.deliveries[0].waits, list[float])
    agent.send()  # type: ignore[call-arg]
    sent.statuses  # type: ignore[attr-defined]


def test_made_up_events() -> None:
    factory = EventFactory(seed=1)
    assert_type(factory.event("killswitch.engaged", id="1"), dict[str, Any])
    assert_type(factory.run(outcome="failed", steps=2), Iterator[dict[str, Any]])
    factory.run(outcome="exploded")  # type: ignore[arg-type]
    EventFactory("seed")  # type: ignore[arg-type]


InMemoryAgent(Extension("extension-typed"))
InMemoryAgent("extension-typed")  # type: ignore[arg-type]
