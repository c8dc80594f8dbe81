"""How agents learn of an extension: what to put where, or one call of the agent's API.

Keys, names and limits of each way come from Steadybit's documentation of the registration of extensions and from its
auto-registration sidecars for Kubernetes and ECS.
"""

import re
import time
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import PurePosixPath
from typing import Any, Literal, Self
from urllib.parse import urlsplit

import orjson

from extension_kit.errors import ConfigurationError, ExtensionKitError, SettingError
from extension_kit.senders.addresses import ANYWHERE, Addresses, UnresolvedError
from extension_kit.senders.excerpts import excerpt, reason
from extension_kit.senders.http_client import HttpClient, HttpRequest
from extension_kit.senders.idle_connections import NoConnectionError, client_context
from extension_kit.settings.declare import TEXT, read_settings, setting

AGENT_PORT = 42899
TIMEOUT = 15.0
"""Seconds the agent may take to accept the connection and to answer."""

# What may stand in a URL, without quotes, query and fragment: safe inside the YAML and JSON written here.
_URL_CHARACTERS = re.compile(r"[A-Za-z0-9\-._~:/\[\]!$&()*+,;=%]+")
_DEFAULT_PORTS = {"http": 80, "https": 443}


class AgentRefusedError(ExtensionKitError):
    """The agent did not do what it was asked to do."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where an extension or an agent is reached; with the scheme ``unix`` the path is a file and the port 0."""

    url: str
    scheme: str
    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read ``http://host[:port][/path]``, the same with https, or ``unix:/path/of/socket``.

        Raises:
            ConfigurationError: the URL has another form, or carries what must not be in it.
        """
        if "@" in url:
            # Not repeated in the message: it may be a password.
            raise ConfigurationError("leave user name and password out of the URL; --basic says where they go")
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError as error:
            raise ConfigurationError(f"{url!r} is not a URL: {error}") from None
        if _URL_CHARACTERS.fullmatch(url) and port != 0:
            if parts.scheme == "unix" and not parts.netloc and re.match("/.*[^/]$", parts.path):
                return cls(f"unix:{parts.path}", "unix", "", 0, parts.path)
            if parts.scheme in _DEFAULT_PORTS and host:
                path = "" if parts.path == "/" else parts.path
                url = f"{parts.scheme}://{parts.netloc}{path}"
                return cls(url, parts.scheme, host, port or _DEFAULT_PORTS[parts.scheme], path)
        raise ConfigurationError(
            f"{url!r} is not a URL that agents can call: expected http://host:port, https or unix:/path"
        )

    @property
    def name(self) -> str:
        """A name for files and manifests: ``extension-`` and the socket's name, the host's first part, or the port."""
        if self.scheme == "unix":
            label = PurePosixPath(self.path).stem
        elif self.host == "localhost" or ":" in self.host or not self.host[0].isalpha():
            label = str(self.port)
        else:
            label = self.host.partition(".")[0]
        return "extension-" + re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-").removeprefix("extension-")


@dataclass(frozen=True, slots=True)
class Registration:
    """One extension as agents are to know it.

    ``index`` numbers the extensions in an agent's environment. ``basic``: the extension asks for a user name and a
    password. Network attacks of the agent spare the restricted ports (port and why) and addresses.

    Each way to register it is a method; it raises ConfigurationError where the extension cannot be registered that way.
    """

    address: Address
    index: int = 0
    basic: bool = False
    restricted_ports: Mapping[int, str] = field(default_factory=dict)
    restricted_ips: Sequence[str] = ()

    def kubernetes(self) -> str:
        """The annotation that the agent's auto-registration sidecar looks for, and what belongs to it."""
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
        """The agent's environment variables; the only way to give an agent a user name and a password."""
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
        """The file that an agent from a Linux package reads."""
        self._refuse_credentials()
        key, value = self._endpoint
        return f"""\
# Save as /etc/steadybit/extensions.d/{self.address.name}.yaml on the host of the agent.
{key}: {value}
types: [EVENT]
"""

    def ecs(self) -> str:
        """The tags that the agent's auto-registration sidecar for ECS looks for."""
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
        """The body for the agent's API."""
        return f"""\
# POST as application/json to http://AGENT:{AGENT_PORT}/extensions with basic authentication: user _, password the agent
# key. DELETE with the same body takes it back. The option --register http://AGENT:{AGENT_PORT} does it for you.
{orjson.dumps(self.body()).decode()}
"""

    def body(self) -> dict[str, Any]:
        """What the agent's API is sent."""
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
"""The ways to register an extension: heading, and what to put where."""


def describe(registration: Registration, ways: Sequence[str]) -> str:
    """Say what to put where; without ``ways`` for every way, with headings and with the reason where one is closed.

    Raises:
        ConfigurationError: the extension cannot be registered in a way that was asked for.
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


@dataclass(frozen=True)
class _AgentSettings:
    key: str = setting("STEADYBIT_AGENT_KEY", "", TEXT, "The key of the agent that is told.", secret=True)


def agent_key() -> str:
    """Read the agent key from ``STEADYBIT_AGENT_KEY``, or from the file that ``STEADYBIT_AGENT_KEY_FILE`` names.

    Raises:
        SettingError: neither is set, both are, or the file cannot be read.
    """
    if not (key := read_settings(_AgentSettings).key):
        raise SettingError("the agent key is missing: set STEADYBIT_AGENT_KEY or STEADYBIT_AGENT_KEY_FILE")
    return key


def tell_agent(method: Literal["POST", "DELETE"], agent_url: str, registration: Registration, key: str) -> None:
    """Register the extension with an agent (POST), or take the registration back (DELETE).

    Raises:
        AgentRefusedError: the agent did not answer, or not with success. The key is never in the text.
        ConfigurationError: this is not the URL of an agent, or its API cannot be given this registration.
    """
    agent = Address.parse(agent_url)
    if agent.scheme == "unix":
        raise ConfigurationError(f"{agent.url} is not the URL of an agent: expected http://AGENT:{AGENT_PORT}")
    url = f"{agent.url.rstrip('/')}/extensions"
    headers = {
        "Host": urlsplit(agent.url).netloc,
        "Authorization": "Basic " + b64encode(f"_:{key}".encode()).decode(),
        "Content-Type": "application/json",
    }
    path = f"{agent.path.rstrip('/')}/extensions"
    body = orjson.dumps(registration.body())
    ends_at = time.monotonic() + TIMEOUT
    request = HttpRequest(method, agent.scheme, agent.host, agent.port, path, headers, body, ends_at)
    context = client_context(None) if agent.scheme == "https" else None
    try:
        with closing(HttpClient(Addresses(ANYWHERE), context, idle=0, idle_seconds=0)) as client:
            answer = client.ask(request)
    except (NoConnectionError, OSError, HTTPException, UnresolvedError) as error:
        cause = error.cause if isinstance(error, NoConnectionError) else error
        raise AgentRefusedError(
            f"no answer from {url}: {reason(cause)}; is this the agent's API (port {AGENT_PORT})?"
        ) from None
    if answer.status == 401:
        raise AgentRefusedError(f"the agent at {agent.url} answered 401: the agent key is wrong")
    if not 200 <= answer.status < 300:
        said = excerpt(answer.body.replace(b"\0", b" "), {key}) or "(no text)"
        raise AgentRefusedError(f"the agent at {agent.url} answered {answer.status}: {said[:500]}")
