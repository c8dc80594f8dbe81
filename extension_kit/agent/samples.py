"""Vocabulary of made-up events: names, actions, targets and reasons."""

from typing import Any, NamedTuple

CONTAINER = "com.steadybit.extension_container.container"
HOST = "com.steadybit.extension_host.host"
DEPLOYMENT = "com.steadybit.extension_kubernetes.kubernetes-deployment"


class Action(NamedTuple):
    """The action of a step; ``target_type`` is None if it needs no targets."""

    id: str
    name: str
    kind: str
    target_type: str | None


ACTIONS = (
    Action("com.steadybit.extension_container.stress_cpu", "Stress Container CPU", "attack", CONTAINER),
    Action("com.steadybit.extension_container.network_delay", "Delay Container Traffic", "attack", CONTAINER),
    Action("com.steadybit.extension_host.stress-cpu", "Stress Host CPU", "attack", HOST),
    Action("com.steadybit.extension_kubernetes.rollout-restart", "Rollout Restart", "attack", DEPLOYMENT),
    Action("com.steadybit.extension_kubernetes.pod_count_check", "Pod Count", "check", DEPLOYMENT),
    Action("com.steadybit.extension_http.check.periodically", "HTTP (Requests / s)", "check", None),
    Action("com.steadybit.extension_k6.run", "K6", "load_test", None),
    Action("com.steadybit.extension_jenkins.job.run", "Run Jenkins Job", "other", None),
)

EXPERIMENTS = (
    ("Checkout survives a busy neighbour", "Orders are placed while the CPU of the checkout service is used up."),
    (
        "A slow payment provider is noticed",
        "When payments take two seconds longer, an alert is raised within a minute.",
    ),
    ("Rolling restart loses no request", "Customers see no errors while all pods are replaced one by one."),
    ("A lost host is replaced", "Five minutes after a host is gone, all deployments have their replicas again."),
)

TEAMS = (("ADM", "Administrators"), ("SHOP", "Online Shop"), ("PLAT", "Platform"))
ENVIRONMENTS = ("Global", "Staging", "Production")
PEOPLE = (("tom.mason", "Tom Mason"), ("aiko.tanaka", "Aiko Tanaka"), ("lena.vogt", "Lena Vogt"))
SERVICES = ("checkout", "payment", "catalog", "inventory", "gateway")
TAGS = ("nightly", "game-day", "release", "resilience")
CUSTOM_LABELS = ("Warm up", "Make it hurt", "Is the shop still open?")

REASONS = {
    "failed": ("A check did not hold", "Expected 3 ready pods, found 1 for 30 seconds."),
    "errored": ("An action could not be carried out", "The agent answered: no such container."),
    "canceled": ("Canceled by a user", None),
}
"""``reason`` and ``reasonDetails`` by state, for states other than completed."""


def target(target_type: str, service: str, number: int) -> dict[str, Any]:
    """Make the keys that describe one target of a step; ``number``, of 256 bits, tells it from others."""
    host = f"ip-10-0-{number % 8}-{number % 250}.eu-central-1.compute.internal"
    pod = f"{service}-{number & 0xFFFFF:05x}"
    in_cluster = {"k8s.cluster-name": ["demo"], "k8s.namespace": ["shop"], "k8s.deployment": [service]}
    name, attributes = {
        CONTAINER: (
            f"containerd://{number:064x}",
            {
                "steadybit.label": [pod],
                "container.id": [f"containerd://{number:064x}"],
                "container.image": [f"registry.example.com/shop/{service}:1.{number % 40}.0"],
                "k8s.pod.name": [pod],
                "host.hostname": [host],
                **in_cluster,
            },
        ),
        HOST: (
            host,
            {
                "steadybit.label": [host],
                "host.hostname": [host],
                "host.nic": ["eth0", "eth1"],
                "aws.zone": ["eu-central-1b"],
            },
        ),
        DEPLOYMENT: (
            f"demo/shop/{service}",
            {
                "steadybit.label": [service],
                "k8s.label.app": [service],
                "k8s.container.name": [service, "proxy"],
                **in_cluster,
            },
        ),
    }[target_type]
    return {
        "agentHostname": "steadybit-agent-0",
        "targetName": name,
        "targetType": target_type,
        "targetAttributes": attributes,
    }
