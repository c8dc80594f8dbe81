"""Scenes: makes up the content of events, such as runs with principals and environments, steps, targets and times."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

from extension_kit.agent import samples

Body = dict[str, Any]

_ENDED = ("completed", "failed", "errored", "canceled")
_PRINCIPAL_TYPES = ("user", "access_token", "batch_job")


@dataclass(frozen=True)
class Run:
    """An experiment execution: the keys that all of its events share.

    ``envelope`` goes into every event, ``ids`` into every execution object, ``experiment`` is the experiment's object.
    """

    envelope: Body
    ids: Body
    experiment: Body


class Scenes:
    """Random runs, steps and targets; equal seeds make equal ones."""

    def __init__(self, seed: int, start: datetime) -> None:
        self.random = Random(seed)  # noqa: S311 (equal for equal seeds is the point)
        self._now = start.astimezone(UTC)
        self._runs = 0
        self._first_execution = self.random.randint(1_000, 70_000)
        self._tenant = {"key": "exmpl", "name": "Example Inc."}
        self._teams = [{"id": self.id(), "key": key, "name": name} for key, name in samples.TEAMS]
        self._environments = [{"id": self.id(), "name": name} for name in samples.ENVIRONMENTS]

    def id(self) -> str:
        """Make an id."""
        return str(UUID(int=self.random.getrandbits(128), version=4))

    def time(self, milliseconds: tuple[int, int] = (1, 400)) -> str:
        """Advance the clock by random milliseconds within a range, and return the time."""
        passed = timedelta(milliseconds=self.random.randint(*milliseconds), microseconds=self.random.randrange(1000))
        self._now += passed
        return self._now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def run(self) -> Run:
        """Make a run; every third is started by the same kind of principal."""
        team = self.random.choice(self._teams)
        principal = self.principal(_PRINCIPAL_TYPES[self._runs % 3])
        self._runs += 1
        name, hypothesis = self.random.choice(samples.EXPERIMENTS)
        ids = {
            "experimentKey": f"{team['key']}-{self.random.randint(1, 99)}",
            "executionId": self._first_execution + self._runs,
        }
        experiment = {**ids, "name": name, "hypothesis": hypothesis}
        # The specification demands both times in every event, also in those of runs that have not started.
        experiment |= {"preparedTime": self.time((60_000, 600_000)), "startedTime": self.time()}
        if self.random.random() < 0.5:
            experiment["tags"] = self.random.sample(samples.TAGS, 2)
            experiment["variables"] = {"service": self.random.choice(samples.SERVICES), "duration": "60s"}
        if self.random.random() < 0.3:
            experiment["properties"] = {
                "owner": team["name"],
                "ticket": self.random.randint(100, 999),
                "approved": True,
            }
        environment = self.random.choice(self._environments)
        envelope = {"tenant": self._tenant, "team": team, "environment": environment, "principal": principal}
        return Run(envelope, ids, experiment)

    def principal(self, kind: object) -> Body:
        """Make a principal of a kind; an unknown kind gives the kind alone."""
        username, name = self.random.choice(samples.PEOPLE)
        principal: Body = {"principalType": kind}
        if kind == "user":
            principal |= {"username": username, "name": name, "email": f"{username}@example.com"}
        elif kind == "access_token":
            token_type = self.random.choice(("admin", "team"))
            principal |= {"id": self.id(), "name": "nightly pipeline", "tokenType": token_type}
        elif kind == "batch_job":
            principal |= {"username": "experiment-scheduler"}
        return principal

    def step(self, run: Run, *, may_wait: bool, may_lack_targets: bool = True) -> Body:
        """Make a step that has not started."""
        step = {**run.ids, "id": self.id()}
        if may_wait and self.random.random() < 0.2:
            return {**step, "type": "wait"}
        action = self.random.choice([one for one in samples.ACTIONS if one.target_type or may_lack_targets])
        step |= {"type": "action", "actionId": action.id, "actionName": action.name, "actionKind": action.kind}
        if self.random.random() < 0.3:
            step["customLabel"] = self.random.choice(samples.CUSTOM_LABELS)
        return step

    def targets(self, run: Run, step: Body) -> list[Body]:
        """Make the one to three targets of a step, or none where its action has no targets."""
        target_types = {action.id: action.target_type for action in samples.ACTIONS}
        if (target_type := target_types.get(step.get("actionId", ""))) is None:
            return []
        service = self.random.choice(samples.SERVICES)
        return [
            {
                **run.ids,
                "stepExecutionId": step["id"],
                "id": self.id(),
                **samples.target(target_type, service, self.random.getrandbits(256)),
            }
            for _ in range(self.random.randint(1, 3))
        ]

    def started(self, content: Body) -> Body:
        """Start a step or target."""
        return {**content, "startedTime": self.time(), "state": "running"}

    def reached(self, content: Body, state: str) -> Body:
        """Bring an execution object into a state, with its times and its reason."""
        content = {**content, "state": state}
        if state in _ENDED:
            content["endedTime"] = self.time((500, 40_000))
        if state in samples.REASONS and "type" not in content:  # steps have no reason
            reason, details = samples.REASONS[state]
            content |= {"reason": reason} | ({"reasonDetails": details} if details else {})
        return content
