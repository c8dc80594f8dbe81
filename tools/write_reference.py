"""Write docs/reference/event.md and commands.md from the classes of events and the command line: ``make reference``."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import click

from extension_kit import (
    AccessTokenPrincipal,
    BatchPrincipal,
    Event,
    ExperimentExecution,
    ExperimentStepExecution,
    ExperimentStepTargetExecution,
    Principal,
    UserPrincipal,
)
from extension_kit.cli import commands
from extension_kit.events.steadybit import Environment, Team, Tenant
from extension_kit.events.views import View
from extension_kit.protocol import PublishedEvent

FOLDER = Path(__file__).parent.parent / "docs" / "reference"

VIEWS: list[type[View]] = [
    Event,
    Tenant,
    Team,
    Environment,
    Principal,
    UserPrincipal,
    AccessTokenPrincipal,
    BatchPrincipal,
    ExperimentExecution,
    ExperimentStepExecution,
    ExperimentStepTargetExecution,
    PublishedEvent,
]
"""The classes on the page of the event, in order."""

_EVENT_HEAD = """# The event

Written by `make reference` from the classes of events.

Functions get an [`Event`](#event), whose parts are objects of the other classes on this page. Attributes are read-only,
and read when they are accessed. Times are aware `datetime`s in the sender's offset, states and kinds are in lower case,
and collections are empty where the sender sent nothing. `event.raw`, and `raw` of any part, is what was sent.
Editors show type and meaning of each attribute, as `python -m pydoc extension_kit.Event` does.

The last column says when an attribute is None. *Only if left out*: the specification requires the attribute, and
type checkers let you use it without a check; senders leave it out now and then.
"""

_COMMANDS_HEAD = """# Commands

Written by `make reference` from the command line, whose `--help` says the same. Settings are environment variables:
[settings](settings.md).

Exit codes: 0 for success, 1 if the command could not do its work, 2 for a wrong option, setting or file.
"""

_CODE = re.compile(r"`[^`]*`|(?<!\w)(?:--[a-z][a-z-]*|[A-Z]\w*_\w+|_FILE)\b")
"""Code, options and environment variables."""

_NONE_CLAUSE = re.compile(r"(?:;|\.|,) None ([^.;]+)")


def event_page() -> str:
    """Make the page of the event: a table for each class, with type and meaning of each attribute.

    Raises:
        ValueError: an attribute can be None, and its docstring does not say when.
    """
    return "\n".join([_EVENT_HEAD, *(line for view in VIEWS for line in _view_section(view))])


def _view_section(view: type[View]) -> Iterator[str]:
    yield f"## {view.__name__}\n"
    yield f"{_in_one_line(inspect.getdoc(view) or '')}\n"
    for base in _shown_bases(view):
        yield f"It also has the attributes of [{base.__name__}](#{base.__name__.lower()}).\n"
    yield "| attribute | type | meaning | None |\n|---|---|---|---|"
    for name in _attributes(view):
        declared, _, text = (getattr(view, name).__doc__ or "").partition(": ")
        meaning = _in_one_line(text)
        when_none = _when_none(f"{view.__name__}.{name}", declared, meaning)
        yield f"| `{name}` | {_type(declared)} | {_NONE_CLAUSE.sub('', meaning)} | {when_none} |"
    yield ""


def _attributes(view: type[View]) -> list[str]:
    """Return the public attributes of a view, without those that a base class on the page shows; ``raw`` is last."""
    shown = {name for base in _shown_bases(view) for name in dir(base)} - vars(view).keys()
    bases = reversed(view.__mro__)
    found = {name: None for base in bases for name, value in vars(base).items() if isinstance(value, property)}
    names = (name for name in found if name not in shown and not name.startswith("_"))
    return sorted(names, key=lambda name: name == "raw")


def _shown_bases(view: type[View]) -> list[type[View]]:
    return [base for base in VIEWS if base in view.__mro__[1:]]


def _type(declared: str) -> str:
    """Return a type without None, with links to the classes of the page."""
    alternatives = [part for part in declared.split(" | ") if part not in ("None", "Any")] or ["Any"]
    linked = {view.__name__ for view in VIEWS}
    return " or ".join(f"[`{each}`](#{each.lower()})" if each in linked else f"`{each}`" for each in alternatives)


def _when_none(attribute: str, declared: str, meaning: str) -> str:
    alternatives = declared.split(" | ")
    if clause := _NONE_CLAUSE.search(meaning):
        return clause[1]
    if "None" in alternatives:
        raise ValueError(f"{attribute} can be None: its docstring has to say when: '...; None without one.'")
    return "only if left out" if len(alternatives) > 1 else "never"


def commands_page() -> str:
    """Make the page of the commands: usage, help text and options of each.

    Raises:
        ValueError: an option has no help text.
    """
    context = click.Context(commands, info_name="extension-kit")
    return "\n".join([_COMMANDS_HEAD, *_command_sections(commands, context, "##")])


def _command_sections(group: click.Group, context: click.Context, heading: str) -> Iterator[str]:
    for name in sorted(group.commands):
        command = group.commands[name]
        inner = click.Context(command, info_name=name, parent=context)
        usage = " ".join([inner.command_path, *command.collect_usage_pieces(inner)])
        yield f"{heading} {inner.command_path}\n\n```text\n{usage}\n```\n"
        yield f"{_in_one_line(command.help or '', paragraphs=True)}\n"
        shown = [each for each in command.params if isinstance(each, click.Option) and not each.hidden]
        options = [_option_row(option, inner) for option in shown]
        if options:
            yield "\n".join(["| option | meaning |", "|---|---|", *options, ""])
        if command.epilog:
            yield f"```sh\n{_example_lines(command.epilog)}\n```\n"
        if isinstance(command, click.Group):
            yield from _command_sections(command, inner, f"{heading}#")


def _option_row(option: click.Option, context: click.Context) -> str:
    record = option.get_help_record(context)
    if record is None or not option.help:
        raise ValueError(f"{context.command_path}: the option {option.name} has no help text")
    written, meaning = record
    return f"| `{written.replace('|', chr(92) + '|')}` | {_in_one_line(meaning)} |"


def _example_lines(epilog: str) -> str:
    return "\n".join(line.strip() for line in epilog.splitlines() if line.strip().startswith("extension-kit "))


def _in_one_line(text: str, *, paragraphs: bool = False) -> str:
    """Return a docstring or help text as Markdown, in one line or with its paragraphs."""
    text = inspect.cleandoc(text).replace("``", "`")
    text = re.sub(r"\n*Raises:\n +(\w+): ", r" Raises `\1`: ", text)
    text = _CODE.sub(lambda found: found[0] if found[0].startswith("`") else f"`{found[0]}`", text)
    separator = "\n\n" if paragraphs else " "
    return separator.join(" ".join(part.split()) for part in text.split("\n\n"))


PAGES = {FOLDER / "event.md": event_page, FOLDER / "commands.md": commands_page}
"""The function that makes each page."""


if __name__ == "__main__":
    for path, make in PAGES.items():
        path.write_text(make(), encoding="utf-8")
