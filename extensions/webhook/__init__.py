"""Sends events to webhooks of one's own: as they came, by a template, or as CloudEvents; signed and in order."""

from collections.abc import Iterator
from functools import partial
from itertools import count
from urllib.parse import urlsplit

from extension_kit import Event, Extension
from extension_kit.protocol import Message

from .bodies import message_maker
from .settings import WebhookSettings

PATH = "/events/webhook"
_MOST_OF_A_HOST = 80  # characters of a listener's name

extension = Extension("extension-webhook", settings=WebhookSettings)


@extension.configure
def add_targets(settings: WebhookSettings) -> None:
    """Add a target for each URL, so that a receiver which is out of order holds up no other."""
    make_message = message_maker(settings)

    def make_wanted(event: Event) -> Message | None:
        return make_message(event) if is_wanted(event, settings) else None

    for name, url in named(settings.urls):
        extension.add_target(
            *settings.events,
            name=name,
            path=PATH,
            target=partial(target_of, url, settings),
            make_message=make_wanted,
        )


def is_wanted(event: Event, settings: WebhookSettings) -> bool:
    """Return True for an event of one of the teams and environments that the settings name."""
    team, environment = getattr(event, "team", None), getattr(event, "environment", None)
    of_team = team is not None and not {team.key, team.name}.isdisjoint(settings.teams)
    of_environment = environment is not None and not {environment.id, environment.name}.isdisjoint(
        settings.environments
    )
    return (of_team or not settings.teams) and (of_environment or not settings.environments)


def named(urls: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield the URLs with names for their listeners: their hosts, numbered if there are several of one host.

    Waiting deliveries are stored under these names. So they have no part of a path, which may be a secret that changes.
    """
    hosts = [(urlsplit(url).hostname or "").replace(":", "-")[:_MOST_OF_A_HOST] for url in urls]
    taken = set(hosts)
    for place, (host, url) in enumerate(zip(hosts, urls, strict=True)):
        name = host
        if host in hosts[:place]:
            name = next(numbered for number in count(2) if (numbered := f"{host}-{number}") not in taken)
            taken.add(name)
        yield name, url


def target_of(url: str, settings: WebhookSettings) -> dict[str, object]:
    """Return the target of a URL, as the kit's sender for HTTP takes it."""
    target: dict[str, object] = {"url": url, "headers": dict(settings.headers)}
    return target | {"secret": settings.secret} if settings.secret else target
