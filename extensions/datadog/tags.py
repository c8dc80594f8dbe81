"""Tags of Datadog events, with the names that Steadybit's own extension for Datadog gives them."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from extension_kit import AccessTokenPrincipal, BatchPrincipal, Event, UserPrincipal

MOST_TAG_CHARACTERS = 200
"""Maximum length of a tag (Datadog, Define tags)."""

_KUBERNETES = (
    ("kube_cluster_name", "k8s.cluster-name"),
    ("kube_namespace", "k8s.namespace"),
    ("kube_deployment", "k8s.deployment"),
    ("namespace", "k8s.namespace"),
    ("pod_name", "k8s.pod.name"),
    ("deployment", "k8s.deployment"),
    ("container_name", "k8s.container.name"),
    ("cluster_name", "k8s.cluster-name"),
    ("service", "k8s.pod.label.tags.datadoghq.com/service"),
    ("service", "k8s.deployment.label.tags.datadoghq.com/service"),
)
_HOSTS = ("container.host", "host.hostname", "application.hostname")
_OTHERS = (
    ("container_id", "container.id.stripped"),
    ("aws_region", "aws.region"),
    ("aws_zone", "aws.zone"),
    ("aws_account", "aws.account"),
)

Pairs = Iterable[tuple[str, object]]
"""Names and values of tags; a value of None stands for a missing one."""


def as_tags(*groups: Pairs) -> list[str]:
    """Return tags ``name:value`` of bounded length, each once, in order."""
    tags = [_tag(name, value) for group in groups for name, value in group if value not in (None, "")]
    return list(dict.fromkeys(tags))


def common(event: Event) -> Iterator[tuple[str, object]]:
    """Yield the tags of every event: its names and those of its environment, tenant, team and principal."""
    yield "source", "Steadybit"
    yield "environment_name", event.environment and event.environment.name
    yield "event_name", event.name
    yield "event_time", event.time and _written_by_go(event.time)
    yield "event_id", event.id
    yield "tenant_name", event.tenant and event.tenant.name
    yield "tenant_key", event.tenant and event.tenant.key
    yield "team_name", event.team and event.team.name
    yield "team_key", event.team and event.team.key
    if (principal := event.principal) is not None:
        yield "principal_type", principal.principal_type
        if isinstance(principal, UserPrincipal | BatchPrincipal):
            yield "principal_username", principal.username
        if isinstance(principal, UserPrincipal | AccessTokenPrincipal):
            yield "principal_name", principal.name


def of_run(run: Any) -> Iterator[tuple[str, object]]:
    """Yield the tags of a run."""
    yield "execution_id", run.execution_id
    yield "experiment_key", run.experiment_key
    yield "experiment_name", run.name
    yield "execution_state", run.state
    yield "experiment_hypothesis", run.hypothesis
    yield from _times(run)


def of_step(step: Any) -> Iterator[tuple[str, object]]:
    """Yield the tags of a step."""
    yield "step_action_id", step.action_id if step.type == "action" else None
    yield "step_action_name", step.action_name
    yield "step_custom_label", step.custom_label


def of_target(target: Any) -> Iterator[tuple[str, object]]:
    """Yield the tags of a target, by which Datadog relates the event to the host, container and service.

    Attributes with several values are left out: a host's event does not belong to all of the pods on it.
    """
    yield "execution_id", target.execution_id
    yield "experiment_key", target.experiment_key
    yield "execution_state", target.state
    yield from _times(target)
    single = {name: values[0] for name, values in target.target_attributes.items() if len(values) == 1}
    cluster = single.get("k8s.cluster-name")
    if "k8s.cluster-name" in target.target_attributes:
        yield from ((tag, single.get(attribute)) for tag, attribute in _KUBERNETES)
    hosts = list(dict.fromkeys(single[attribute] for attribute in _HOSTS if attribute in single))
    if len(hosts) == 1 and cluster:  # as Datadog's agent names the host of a node
        hosts = [f"{hosts[0]}-{cluster}"]
    yield from (("host", host) for host in hosts)
    yield from ((tag, single.get(attribute)) for tag, attribute in _OTHERS)


def _tag(name: str, value: object) -> str:
    return " ".join(f"{name}:{value}".split())[:MOST_TAG_CHARACTERS]


def _times(execution: Any) -> Iterator[tuple[str, object]]:
    for name, time in (("started_time", execution.started_time), ("ended_time", execution.ended_time)):
        yield name, time and time.isoformat(timespec="seconds").replace("+00:00", "Z")


def _written_by_go(time: datetime) -> str:
    """Return a time as Go prints it, which the tags of the other extension have."""
    return f"{time.astimezone(UTC).isoformat(sep=' ').removesuffix('+00:00')} +0000 UTC"
