"""The event names that Steadybit agents can send.

The names of Steadybit's Event API (its section "listenTo") in all editions: the oldest has ``user.invited``, the newest
the targets. The set is open: a platform may add names at any time, so an unknown name is a warning, never an error.
"""

_EXPERIMENT_EXECUTION = (
    "requested",
    "created",
    "failed",
    "errored",
    "canceled",
    "completed",
    "step-started",
    "step-errored",
    "step-canceled",
    "step-skipped",
    "step-failed",
    "step-completed",
    "target-started",
    "target-errored",
    "target-canceled",
    "target-failed",
    "target-completed",
)

STEADYBIT_EVENT_NAMES: tuple[str, ...] = (
    "user.invited",
    "killswitch.engaged",
    "killswitch.disengaged",
    *(f"experiment.execution.{word}" for word in _EXPERIMENT_EXECUTION),
)
"""The event names of the Event API, in the order of the documentation."""
