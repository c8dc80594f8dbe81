"""The event of a run that completed, with changes."""

from typing import Any

from extension_kit import Event

BODY: dict[str, Any] = {
    "id": "da059724-a8ae-4b4b-b4f0-ee01898232d2",
    "eventName": "experiment.execution.completed",
    "eventTime": "2021-09-01T12:00:00Z",
    "tenant": {"key": "exmpl", "name": "Example Inc."},
    "principal": {"principalType": "user", "username": "tom.mason", "name": "Tom Mason", "email": "t@example.com"},
    "environment": {"id": "STG", "name": "Staging"},
    "team": {"key": "ADM", "name": "Administrators"},
    "experimentExecution": {
        "experimentKey": "ADM-4",
        "executionId": 34,
        "name": "Rollout restart",
        "state": "COMPLETED",
        "preparedTime": "2022-11-08T16:42:32.303762Z",
        "startedTime": "2022-11-08T16:42:32.329718Z",
        "endedTime": "2022-11-08T16:42:42.636157999Z",
        "tags": ["a", "b"],
        "variables": {"one": "1", "many": ["1", "2"]},
    },
}


def event(**changes: Any) -> Event:
    """Make the event, with other values of some keys."""
    return Event.from_body({**BODY, **changes})
