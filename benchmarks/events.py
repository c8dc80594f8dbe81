"""The bodies that are sent and measured: valid to the letter of the specification, and refused for one missing key."""

import json
from typing import Any

from benchmarks.load import ID, RUN

Body = dict[str, Any]


def small(run: int = RUN) -> Body:
    """An experiment's end with everything that agents send: 0.9 KB of compact JSON; ``run`` is its execution id."""
    return {
        **_envelope("experiment.execution.failed"),
        "experimentExecution": {
            "experimentKey": "ADM-4",
            "executionId": run,
            "name": "Rollout restart does not impact service availability",
            "hypothesis": "The service answers while its pods are replaced",
            "state": "failed",
            "reason": "A check failed",
            "preparedTime": "2022-11-08T16:42:32.303762Z",
            "startedTime": "2022-11-08T16:42:32.329718Z",
            "endedTime": "2022-11-08T16:42:42.636157Z",
            "tags": ["kubernetes", "availability"],
            "variables": {"cluster": "staging", "namespace": "shop"},
        },
    }


def of_size(kilobytes: int) -> Body:
    """A target's end: what makes bodies large is the number of attributes that discoveries collect about a target."""
    body: Body = {
        **_envelope("experiment.execution.target-completed"),
        "experimentStepTargetExecution": {
            "experimentKey": "ADM-4",
            "executionId": RUN,
            "stepExecutionId": "3f0c2a52-6a0e-4a1b-9b64-5f2f4d0c9e01",
            "id": "8d4b1ae1-2b0c-4b43-9a30-6b1f1d2f7a55",
            "startedTime": "2022-11-08T16:42:32.329718Z",
            "endedTime": "2022-11-08T16:42:42.636157Z",
            "state": "completed",
            "agentHostname": "agent-7f6d5c",
            "targetName": "shop/checkout",
            "targetType": "com.steadybit.extension_kubernetes.kubernetes-deployment",
            "targetAttributes": {"steadybit.label": ["checkout"]},
        },
    }
    attributes = body["experimentStepTargetExecution"]["targetAttributes"]
    while len(encoded(body)) < kilobytes * 1000:
        for number in range(len(attributes), len(attributes) + 10):
            attributes[f"k8s.container.label-{number}"] = [f"value-{number}-{part}" for part in range(2)]
    return body


def invalid() -> Body:
    """An event that every validating server must refuse: its tenant is missing."""
    return {key: value for key, value in small().items() if key != "tenant"}


def encoded(body: Body) -> str:
    """Compact JSON, as agents send it."""
    return json.dumps(body, separators=(",", ":"))


def _envelope(name: str) -> Body:
    return {
        "id": ID,
        "eventName": name,
        "eventTime": "2022-11-08T16:42:42.700000Z",
        "tenant": {"key": "exmpl", "name": "Example Inc."},
        "principal": {
            "principalType": "user",
            "username": "tom.mason",
            "name": "Tom Mason",
            "email": "tom.mason@example.com",
        },
        "environment": {"id": "STG", "name": "Staging"},
        "team": {"id": "0dbf", "key": "ADM", "name": "Administrators"},
    }
