"""Templates: texts for other systems, made from events by Jinja2.

An operator writes a template, so it runs in a sandbox, and its work, output and loops are bounded::

    from extension_kit.templates import Template

    template = Template.parse(settings.template, name="EXTENSION_NOTIFY_TEMPLATE")
    text = template.render(event)
"""

import traceback
from collections.abc import Callable, Collection, Mapping
from functools import cache
from types import MappingProxyType
from typing import Literal

import jinja2
from jinja2.meta import find_undeclared_variables

from extension_kit.errors import GiveUp, SettingError, StoreError
from extension_kit.events.event import Event
from extension_kit.templates.budget import new_budget
from extension_kit.templates.sandbox import Sandbox

__all__ = ["MAX_OUTPUT", "MAX_TEMPLATE", "Template"]

MAX_TEMPLATE = 256 * 1024
"""Maximum characters of a template."""

MAX_OUTPUT = 1024 * 1024
"""Maximum bytes of its output, in UTF-8."""

Escape = Literal["html", "json"]
_VARIABLES: Mapping[str, Callable[[Event], object]] = MappingProxyType(
    {
        "event": lambda event: event,
        "data": lambda event: event.raw,
        "run": lambda event: getattr(event, "experiment_execution", None),
        "step": lambda event: getattr(event, "step", None),
        "target": lambda event: getattr(event, "experiment_step_target_execution", None),
    }
)
_sandbox = cache(Sandbox)


class Template:
    """A template; made by ``parse``. Thread-safe.

    Its variables are ``event``, ``data`` (the body of the event), ``run``, ``step`` and ``target``, which are none for
    events without them. A missing attribute or key is an error, and none is printed as nothing.

    Args:
        name: of the setting or file, for errors.
        made: the compiled templates by escape.
        variables: names of the variables that it uses.
    """

    def __init__(self, name: str, made: Mapping[str | None, jinja2.Template], variables: frozenset[str]) -> None:
        self._name = name
        self._made = made
        self._variables = variables

    @classmethod
    def parse(cls, text: str, *, name: str, variables: Collection[str] = ()) -> "Template":
        """Parse a template.

        Args:
            text: the template.
            name: of the setting or file, for errors.
            variables: names of further variables, which ``render`` is given.

        Raises:
            SettingError: the text is no template, or uses an unknown variable; the message has the line.
        """
        if len(text) > MAX_TEMPLATE:
            raise SettingError(f"{name} is longer than {MAX_TEMPLATE} characters")
        try:
            used = find_undeclared_variables(_sandbox(None).parse(text)) - {"range"}
            made = {escape: _sandbox(escape).from_string(text) for escape in (None, "html", "json")}
        except jinja2.TemplateSyntaxError as error:
            raise SettingError(f"{name} is not a template: line {error.lineno}: {error.message}") from None
        except (RecursionError, SyntaxError, MemoryError):
            raise SettingError(f"{name} is not a template: it is nested too deeply") from None
        if unknown := sorted(used - {*_VARIABLES, *variables}):
            known = ", ".join([*_VARIABLES, *variables])
            raise SettingError(f"{name} uses {', '.join(unknown)}: the variables of a template are {known}")
        return cls(name, made, frozenset(used & set(_VARIABLES)))

    def render(self, event: Event, *, escape: Escape | None = None, **variables: object) -> str:
        """Return the text for an event.

        Args:
            event: the event.
            escape: the form for which printed values are escaped: ``html``, or ``json`` within quotation marks, where
                ``tojson`` prints a whole value; None: they are printed as they are.
            variables: the further variables.

        Raises:
            GiveUp: it cannot be rendered for this event, or is too large; the message has the line and the reason.
            StoreError: the step cannot be looked up at the moment.
        """
        values = {name: _VARIABLES[name](event) for name in self._variables} | variables
        parts: list[str] = []
        left = MAX_OUTPUT
        try:
            with new_budget():
                for part in self._made[escape].generate(values):
                    parts.append(part)
                    left -= len(part.encode(errors="replace"))
                    if left < 0:
                        break
        except StoreError:  # of event.step
            raise
        except Exception as error:
            raise GiveUp(f"{self._name}{_line(error)}: {_reason(error)}") from None
        if left < 0:
            raise GiveUp(f"{self._name}: its output is longer than {MAX_OUTPUT} bytes")
        return "".join(parts)


def _line(error: Exception) -> str:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "<template>"]
    return f", line {lines[-1]}" if lines else ""


def _reason(error: Exception) -> str:
    if isinstance(error, jinja2.TemplateError):
        return error.message or type(error).__name__
    return f"{type(error).__name__}: {error}"
