"""Command ``registration``: how to register an extension, printed, or its registration at one agent."""

import click


@click.command()
@click.argument("url")
@click.option("--kubernetes", "ways", flag_value="kubernetes", multiple=True, help="Annotation, labels and ports.")
@click.option("--env", "ways", flag_value="env", multiple=True, help="Environment variables of the agent.")
@click.option("--file", "ways", flag_value="file", multiple=True, help="File on the host of the agent.")
@click.option("--ecs", "ways", flag_value="ecs", multiple=True, help="Tags of the task definition.")
@click.option("--agent-api", "ways", flag_value="agent-api", multiple=True, help="Body for the agent's API.")
@click.option("--index", type=click.IntRange(min=0), default=0, show_default=True, help="Number in --env.")
@click.option("--basic", is_flag=True, help="The extension requires a user name and a password.")
@click.option(
    "--restricted-port",
    "restricted_ports",
    type=(click.IntRange(1, 65535), str),
    multiple=True,
    metavar="PORT REASON",
    help="Port that network attacks spare (--agent-api, --register).",
)
@click.option("--restricted-ip", "restricted_ips", multiple=True, help="Address that network attacks spare.")
@click.option("--register", metavar="AGENT_URL", help="Register at this agent (key: STEADYBIT_AGENT_KEY, or _FILE).")
@click.option("--unregister", metavar="AGENT_URL", help="Remove the registration from this agent.")
def registration(
    url: str,
    ways: tuple[str, ...],
    index: int,
    basic: bool,
    restricted_ports: tuple[tuple[int, str], ...],
    restricted_ips: tuple[str, ...],
    register: str | None,
    unregister: str | None,
) -> None:
    """Print how to register the extension at URL (http, https or unix:/path), or register it at one agent."""
    from extension_kit.agent.address import Address
    from extension_kit.agent.agent_api import AgentRefusedError, agent_key, call_agent_api
    from extension_kit.agent.registration import Registration, describe

    if sum(map(bool, (ways, register, unregister))) > 1:
        raise click.UsageError("--register and --unregister cannot be combined with each other or with a way to print.")
    extension = Registration(Address.parse(url), index, basic, dict(restricted_ports), restricted_ips)
    try:
        if register:
            call_agent_api("POST", register, extension, agent_key())
            click.echo(f"Registered {url}. The agent's log says so: Extension-registry change: ADD")
        elif unregister:
            call_agent_api("DELETE", unregister, extension, agent_key())
            click.echo(f"Unregistered {url}.")
        else:
            click.echo(describe(extension, ways), nl=False)
    except AgentRefusedError as error:
        raise click.ClickException(str(error)) from None
