"""What users write must type-check, and what is wrong must not: each ignored error is one mypy has to find."""

from collections.abc import Callable
from typing import assert_type

from flask import Flask

from extension_kit import Event, Extension

extension = Extension("extension-typed", version="1.0.0")
Extension()  # type: ignore[call-arg]
Extension("extension-typed", "1.0.0")  # type: ignore[call-arg]


@extension.listen_to("experiment.execution.failed", "experiment.execution.errored")
def page(event: Event) -> None:
    run = event.experiment_execution
    print(f"{run.experiment_key}: {run.name} {run.state} ({run.reason})")


@extension.listen_to("killswitch.*", restrict_to="any", path="/events/stop", immediate=True)
def stop() -> int:
    return 1


@extension.listen_to("*", path="/events/waits")
async def waits(event: Event) -> int:
    return 1


async def awaits(event: Event) -> None:
    assert_type(await waits(event), int)
    await waits()  # type: ignore[call-arg]


class Desk:
    def ring(self, event: Event, *, loud: bool = False) -> str:
        return event.name if loud else ""


# Functions stay what they are.
assert_type(stop(), int)
assert_type(extension.listen_to("*")(Desk().ring)(Event.from_body({}), loud=True), str)
handler: Callable[[Event], None] = page
page()  # type: ignore[call-arg]
page("an event")  # type: ignore[arg-type]

extension.listen_to(5)  # type: ignore[arg-type]
extension.listen_to(["a", "b"])  # type: ignore[arg-type]
extension.listen_to("*", paths="/a")  # type: ignore[call-arg]
extension.listen_to("*", immediate="yes")  # type: ignore[arg-type]
extension.listen_to("*")("not a function")  # type: ignore[type-var]


@extension.listen_to  # type: ignore[arg-type]
def without_names(event: Event) -> None: ...


extension.extend_index({"actions": []})
extension.extend_index(lambda: {"actions": None})
extension.extend_index("actions")  # type: ignore[arg-type]

assert_type(extension.create_app(), Flask)
