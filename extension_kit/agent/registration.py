"""Registration of an extension: renders the configuration for each way by which agents can find an extension.

Keys, names and limits of each way come from Steadybit's documentation of the registration of extensions and from its
auto-registration sidecars for Kubernetes and ECS.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from extension_kit.agent.address import Address
from extension_kit.errors import ConfigurationError

AGENT_PORT = 42899
"""Port of the agent's API."""


@dataclass(frozen=True, slots=True)
class Registration:
    """The registration of one extension.

    ``index`` numbers the extensions in an agent's environment. ``basic`` is True if the extension demands a user name
    and a password. Network attacks of the agent spare the restricted ports (with the reason for each) and addresses.

    Each way to register has a method; it raises ConfigurationError if the extension cannot be registered that way.
    """

    address: Address
    index: int = 0
    basic: bool = False
    restricted_ports: Mapping[int, str] = field(default_factory=dict)
    restricted_ips: Sequence[str] = ()

    def kubernetes(self) -> str:
        """Return manifests with the annotation that the agent's auto-registration sidecar looks for."""
        self._refuse_socket()
        self._refuse_credentials()
        extension: dict[str, Any] = {"port": self.address.port, "protocol": self.address.scheme}
        if self.address.path:
            extension["path"] = self.address.path
        annotation = orjson.dumps({"extensions": [extension]}).decode()
        return f"""\
# Merge into the manifests of the extension's Service and Deployment. The namespace is the agent's (steadybit-agent by
# default), which looks elsewhere only where its chart's agent.extensions.autoregistration.namespace says so. Declared
# ports are spared by network attacks; 8081 is the health port unless STEADYBIT_EXTENSION_HEALTH_PORT says otherwise.
apiVersion: v1
kind: Service
metadata:
  name: {self.address.name}
  annotations:
    steadybit.com/extension-auto-registration: '{annotation}'
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {self.address.name}
  labels:
    steadybit.com/extension: "true"
    steadybit.com/discovery-disabled: "true"
spec:
  template:
    metadata:
      labels:
        steadybit.com/extension: "true"
        steadybit.com/discovery-disabled: "true"
    spec:
      containers:
        - name: extension
          ports:
            - containerPort: {self.address.port}
          livenessProbe:
            httpGet: {{path: /health/liveness, port: 8081}}
          readinessProbe:
            httpGet: {{path: /health/readiness, port: 8081}}
"""

    def env(self) -> str:
        """Return the agent's environment variables, the only way to give an agent a user name and a password."""
        self._refuse_socket()
        prefix = f"STEADYBIT_AGENT_EXTENSIONS_REGISTRATIONS_{self.index}"
        text = f"""\
# Add to the environment of the agent (agent.env in its Helm chart).
{prefix}_URL={self.address.url}
"""
        if self.basic:
            text += f"""\
# The values of the extension's STEADYBIT_EXTENSION_BASIC_USERNAME and STEADYBIT_EXTENSION_BASIC_PASSWORD:
{prefix}_BASIC_USERNAME=
{prefix}_BASIC_PASSWORD=
"""
        return text

    def file(self) -> str:
        """Return the file that an agent from a Linux package reads."""
        self._refuse_credentials()
        key, value = self._endpoint
        return f"""\
# Save as /etc/steadybit/extensions.d/{self.address.name}.yaml on the host of the agent.
{key}: {value}
types: [EVENT]
"""

    def ecs(self) -> str:
        """Return the tags that the agent's auto-registration sidecar for ECS looks for."""
        if self.address.scheme != "http" or self.address.path:
            raise ConfigurationError(
                f"{self.address.url} cannot be registered with ECS tags, because the agent then calls "
                "http://<address of the task>:<port>, without TLS and without a path; use --env or --agent-api"
            )
        self._refuse_credentials()
        return f"""\
# Add to the task definition, and "propagateTags": "TASK_DEFINITION" to the service. The family of the task must be
# listed in STEADYBIT_EXTENSION_TASK_FAMILIES of the agent's sidecar extension-auto-registration-ecs.
"tags": [
  {{"key": "steadybit_extension_port", "value": "{self.address.port}"}},
  {{"key": "steadybit_extension_type", "value": "EVENT"}},
  {{"key": "steadybit.com/discovery-disabled", "value": "true"}}
]
"""

    def agent_api(self) -> str:
        """Return the body for the agent's API, with instructions."""
        return f"""\
# POST as application/json to http://AGENT:{AGENT_PORT}/extensions with basic authentication: user _, password the agent
# key. DELETE with the same body takes it back. The option --register http://AGENT:{AGENT_PORT} does it for you.
{orjson.dumps(self.body()).decode()}
"""

    def body(self) -> dict[str, Any]:
        """Return the body for the agent's API as an object."""
        self._refuse_credentials()
        key, value = self._endpoint
        body: dict[str, Any] = {key: value}
        if self.restricted_ports:
            body["restrictedPorts"] = {str(port): reason for port, reason in self.restricted_ports.items()}
        if self.restricted_ips:
            body["restrictedIps"] = list(self.restricted_ips)
        return body

    @property
    def _endpoint(self) -> tuple[str, str]:
        return ("unixSocket", self.address.path) if self.address.scheme == "unix" else ("url", self.address.url)

    def _refuse_socket(self) -> None:
        if self.address.scheme == "unix":
            raise ConfigurationError("a unix socket cannot be registered this way; use --file or --agent-api")

    def _refuse_credentials(self) -> None:
        if self.basic:
            raise ConfigurationError("an agent can be given user name and password with --env only")


WAYS: dict[str, tuple[str, Callable[[Registration], str]]] = {
    "kubernetes": ("Kubernetes", Registration.kubernetes),
    "env": ("Environment of the agent", Registration.env),
    "file": ("File on the host of the agent", Registration.file),
    "ecs": ("Amazon ECS", Registration.ecs),
    "agent-api": ("API of the agent", Registration.agent_api),
}
"""The ways to register an extension: heading and method."""


def describe(registration: Registration, ways: Sequence[str]) -> str:
    """Return the configuration for some ways; for none given, that of all ways, under headings.

    Raises:
        ConfigurationError: the extension cannot be registered in a given way. Under headings, the reason is in the
            text instead.
    """
    if ways:
        return "\n".join(WAYS[way][1](registration) for way in ways)
    sections = []
    for heading, render in WAYS.values():
        try:
            text = render(registration)
        except ConfigurationError as error:
            text = f"# Not possible: {error}.\n"
        sections.append(f"## {heading}\n{text}")
    return "\n".join(sections)
