"""Templates: texts and JSON values with placeholders ``${<path>}``, rendered with the values of an event.

Rules (eventhos, template language): a JSON value that is a single placeholder keeps the type of the value that it
finds. Mixed with other text, and in headers, parameters and URLs, texts are inserted as they are and other values as
JSON.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Literal

from .paths import MISSING, MOST_CHARACTERS, Path
from .work import spend_inserted

Missing = Literal["undefined", "omit", "empty", "error"]
"""Treatment of placeholders that find nothing.

In a text: the word ``undefined`` as upstream, no text at all, an empty one in its place, or an error. A JSON value that
is a single placeholder is left out for ``undefined`` and ``omit``. The text of a path cannot be left out: ``omit`` is
an error there, and so is an empty text that is a whole part of a URL's path, for every treatment.
"""

Render = Callable[[Any, Missing], Any]
"""Renders one value with the values of an event; ``MISSING`` leaves the value out."""

PLACEHOLDER = re.compile(r"""\$\{((?:[^}"']|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')*)\}""")
"""Matches a placeholder; its group is the path."""

_LONGEST_PLACEHOLDER = MOST_CHARACTERS + len("${}")
_MOST_DEPTH = 100


class TemplateError(ValueError):
    """A template cannot be compiled, or not be rendered with an event.

    Args:
        place: where it stands, such as ``body.items[0]``.
        reason: the fault.
    """

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"{place}: {reason}")
        self.place = place


class Text:
    """A text with placeholders.

    Args:
        text: the text.
        place: where it stands, for errors.
        encode: applied to each inserted value.

    Raises:
        TemplateError: a placeholder has a bad path.
    """

    def __init__(self, text: str, place: str, encode: Callable[[str], str] = str) -> None:
        self._place = place
        self._encode = encode
        self._parts: list[str | Path] = list(_parts(text, place))

    @property
    def only_path(self) -> Path | None:
        """The path of a text that is a single placeholder."""
        return self._parts[0] if len(self._parts) == 1 and isinstance(self._parts[0], Path) else None

    @property
    def is_fixed(self) -> bool:
        """True without placeholders."""
        return all(isinstance(part, str) for part in self._parts)

    def render(self, values: Any, missing: Missing) -> Any:
        """Return the text with the values of an event; ``MISSING`` if it is left out.

        Raises:
            TemplateError: a placeholder finds nothing, and that is an error.
        """
        parts = []
        for part in self._parts:
            if isinstance(part, str):
                parts.append(part)
            elif (found := _find(part, values, self._place)) is not MISSING:
                is_text = isinstance(found, str)
                text = found if is_text else json.dumps(found, ensure_ascii=False, separators=(",", ":"))
                parts.append(self._encode(text))
            elif missing == "omit":
                return MISSING
            elif missing == "error":
                raise TemplateError(self._place, "the event has no such value")
            elif missing == "undefined":
                parts.append(missing)
        return "".join(parts)


def _parts(text: str, place: str) -> Iterator[str | Path]:
    end = 0
    for found in _placeholders(text, place):
        if found.start() > end:
            yield text[end : found.start()]
        try:
            yield Path(found[1])
        except ValueError as error:
            raise TemplateError(place, str(error)) from None
        end = found.end()
    if end < len(text):
        yield text[end:]


def _placeholders(text: str, place: str) -> Iterator[re.Match[str]]:
    """Find the placeholders of a text, in a time that grows no faster than the text.

    Raises:
        TemplateError: one is too long.
    """
    start = text.find("${")
    while start >= 0:
        limit = start + _LONGEST_PLACEHOLDER
        if (found := PLACEHOLDER.match(text, start, limit)) is not None:
            yield found
        elif text.find("}", limit) >= 0:
            raise TemplateError(place, f"a placeholder has at most {MOST_CHARACTERS} characters before its brace")
        start = text.find("${", start + len("${") if found is None else found.end())


def _find(path: Path, values: Any, place: str) -> Any:
    try:
        found = path.find(values)
        spend_inserted(found)
    except ValueError as error:
        raise TemplateError(place, str(error)) from None
    return found


def compile_value(value: Any, place: str) -> Render:
    """Compile a JSON value whose texts may have placeholders, at any depth, also in lists.

    A key whose value is a single placeholder that finds nothing is left out; in a list, null takes its place.

    Raises:
        TemplateError: a placeholder has a bad path, or the value is nested too deep.
    """
    return _compiled(value, place, 0) or _constant(value)


def _compiled(value: Any, place: str, depth: int) -> Render | None:
    """Compile a value; None if it has no placeholders."""
    if depth > _MOST_DEPTH:
        raise TemplateError(place, f"nested more than {_MOST_DEPTH} deep")
    if isinstance(value, str):
        return _compiled_text(Text(value, place), place)
    if isinstance(value, dict):
        members = {key: _compiled(each, f"{place}.{key}", depth + 1) for key, each in value.items()}
        if not any(members.values()):
            return None
        renders = [(key, render or _constant(value[key])) for key, render in members.items()]

        def render_object(values: Any, missing: Missing) -> Any:
            rendered = ((key, render(values, missing)) for key, render in renders)
            return {key: each for key, each in rendered if each is not MISSING}

        return render_object
    if isinstance(value, list):
        items = [_compiled(each, f"{place}[{number}]", depth + 1) for number, each in enumerate(value)]
        if not any(items):
            return None
        item_renders = [render or _constant(each) for render, each in zip(items, value, strict=True)]

        def render_list(values: Any, missing: Missing) -> Any:
            rendered = (render(values, missing) for render in item_renders)
            return [None if each is MISSING else each for each in rendered]

        return render_list
    return None


def _compiled_text(text: Text, place: str) -> Render | None:
    if text.is_fixed:
        return None
    if (path := text.only_path) is None:
        return text.render

    def render_typed(values: Any, missing: Missing) -> Any:
        found = _find(path, values, place)
        if found is MISSING and missing == "error":
            raise TemplateError(place, "the event has no such value")
        return "" if found is MISSING and missing == "empty" else found

    return render_typed


def _constant(value: Any) -> Render:
    return lambda values, missing: value
