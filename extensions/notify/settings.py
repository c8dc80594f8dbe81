"""Settings of the extension."""

from dataclasses import dataclass

from extension_kit.protocol import EVENT_NAMES, TEXT, Kind, setting

DEFAULT_TEMPLATE = """\
{{ run.name }}: {{ run.state }}
Run {{ run.execution_id }} of experiment {{ run.experiment_key }}\
{% if event.team %}, team {{ event.team.name }}{% endif %}\
{% if event.environment %}, environment {{ event.environment.name }}{% endif %}
{% if run.reason %}{{ run.reason }}
{% endif %}{% if run.reason_details %}{{ run.reason_details }}
{% endif %}{{ link }}"""
"""Template of messages about the run of an event."""

URLS = Kind(lambda text: tuple(text.split()), "URLs of apprise, separated by blanks, each as URL or NAME=URL")


@dataclass(frozen=True)
class NotifySettings:
    """Settings of the extension."""

    urls: tuple[str, ...] = setting(
        "EXTENSION_NOTIFY_URLS",
        (),
        URLS,
        "Channels. A name keeps the waiting messages of a channel when its URL changes; by default it is the first "
        "part of the URL, such as `slack`, and for further ones `slack-2`.",
        secret=True,
    )
    events: tuple[str, ...] = setting(
        "EXTENSION_NOTIFY_EVENTS",
        ("experiment.execution.failed", "experiment.execution.errored"),
        EVENT_NAMES,
        "Events that cause a message.",
    )
    template: str = setting(
        "EXTENSION_NOTIFY_TEMPLATE",
        DEFAULT_TEMPLATE,
        TEXT,
        "Jinja2 template of a message; its first line is the title.",
    )
    link: str = setting(
        "EXTENSION_NOTIFY_LINK",
        "",
        TEXT,
        "Template of the address of a run, `link` in the other template: for example "
        "`https://platform.steadybit.com/experiments/edit/{{ run.experiment_key }}/executions/{{ run.execution_id }}`.",
    )
