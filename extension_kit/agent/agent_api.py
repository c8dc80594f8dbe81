"""Agent API: registers an extension with a running agent, or removes it."""

import time
from base64 import b64encode
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPException
from typing import Literal
from urllib.parse import urlsplit

import orjson

from extension_kit.agent.address import Address
from extension_kit.agent.registration import AGENT_PORT, Registration
from extension_kit.errors import ConfigurationError, ExtensionKitError, SettingError
from extension_kit.senders.addresses import ANYWHERE, Addresses, UnresolvedError
from extension_kit.senders.excerpts import excerpt, reason
from extension_kit.senders.http_client import EXCERPT_SECONDS, HttpClient, HttpRequest
from extension_kit.senders.idle_connections import NoConnectionError, client_context
from extension_kit.settings.declare import TEXT, read_settings, setting

TIMEOUT = 15.0
"""Seconds for the agent's answer."""


class AgentRefusedError(ExtensionKitError):
    """The agent did not answer, or refused the registration."""


@dataclass(frozen=True)
class _AgentSettings:
    key: str = setting("STEADYBIT_AGENT_KEY", "", TEXT, "Key of the agent to register with.", secret=True)


def agent_key() -> str:
    """Return the agent key from ``STEADYBIT_AGENT_KEY``, or from the file that ``STEADYBIT_AGENT_KEY_FILE`` names.

    Raises:
        SettingError: neither is set, both are, or the file cannot be read.
    """
    if not (key := read_settings(_AgentSettings).key):
        raise SettingError("the agent key is missing: set STEADYBIT_AGENT_KEY or STEADYBIT_AGENT_KEY_FILE")
    return key


def call_agent_api(
    method: Literal["POST", "DELETE"],
    agent_url: str,
    registration: Registration,
    key: str,
    *,
    timeout: float = TIMEOUT,
    excerpt_seconds: float = EXCERPT_SECONDS,
) -> None:
    """Register an extension with an agent (POST), or remove the registration (DELETE).

    Args:
        method: POST or DELETE.
        agent_url: URL of the agent.
        registration: the registration.
        key: the agent's key.
        timeout: seconds for the agent's answer.
        excerpt_seconds: seconds to wait for the body of the answer.

    Raises:
        AgentRefusedError: the agent did not answer, or not with success. The message never contains the key.
        ConfigurationError: the URL is not that of an agent, or the API does not support this registration.
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
    ends_at = time.monotonic() + timeout
    request = HttpRequest(method, agent.scheme, agent.host, agent.port, path, headers, body, ends_at)
    context = client_context(None) if agent.scheme == "https" else None
    try:
        with closing(
            HttpClient(Addresses(ANYWHERE), context, idle=0, idle_seconds=0, excerpt_seconds=excerpt_seconds)
        ) as client:
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
