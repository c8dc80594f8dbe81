"""Views: lazy, read-only looks at JSON objects, and the conversions of their values.

A property of a view reads the decoded body when it is accessed, and nothing is copied before that: an event that no
function reads costs nothing. It is None, or empty if it is a collection, where the body lacks the key, holds null or,
as far as validation accepts it, holds a value of another type.

Properties of the type ``X | Any`` are required by the specification but missing from real bodies now and then. The
``Any`` keeps type checkers from demanding a None check at each use, while they still check the attributes of X.
"""

import inspect
import marshal
import re
import reprlib
from collections.abc import Callable
from typing import Any, TypeVar

_MODULES = re.compile(r"\b(?:\w+\.)+")


class View:
    """A read-only look at one JSON object."""

    __slots__ = ("_data",)
    _data: dict[str, Any]

    def __init__(self, data: dict[str, Any]) -> None:
        set_data(self, data)

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        _document_types(cls)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is read-only: {name} cannot be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is read-only: {name} cannot be deleted")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._data == self._data

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({reprlib.repr(self._data)})"  # shortened, as it may be large and deep

    @property
    def raw(self) -> Any:
        """A copy of the JSON object as it was sent."""
        return copied(self._data)


def _document_types(view: type[View]) -> None:
    """Begin the documentation of each property with its type, which pydoc does not show otherwise."""
    for attribute in vars(view).values():
        if isinstance(attribute, property) and attribute.__doc__:
            attribute.__doc__ = f"{_type_of(attribute)}: {attribute.__doc__}"


def _type_of(attribute: property) -> str:
    """Return the annotated type of a property, without the names of modules."""
    try:
        annotation = attribute.fget.__annotations__["return"]
    except (AttributeError, KeyError, NameError):  # from Python 3.14 on, a name that only type checkers import
        return "Any"
    written = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return _MODULES.sub("", written)


_document_types(View)


def slot_setter(view: type[View], slot: str) -> Callable[[Any, Any], None]:
    """Return the function that sets a slot of a view, which is read-only otherwise."""
    setter: Callable[[Any, Any], None] = vars(view)[slot].__set__
    return setter


set_data = slot_setter(View, "_data")

ViewT = TypeVar("ViewT", bound=View)


def copied(data: Any) -> Any:
    """Copy JSON data with marshal, which is faster than deepcopy and takes data that is nested too deeply for it."""
    return marshal.loads(marshal.dumps(data))  # noqa: S302 - nobody else's bytes


def as_part(view: type[ViewT], value: Any) -> ViewT | None:
    """Return a view of an object in the body, or None."""
    return view(value) if value is not None else None


def as_text(value: Any) -> str | None:
    """Return a text, or None for every other value."""
    return value if isinstance(value, str) else None


def as_word(value: Any) -> str | None:
    """Return a word of an open enumeration in lower case: documents and some senders write upper case."""
    return value.lower() if isinstance(value, str) else None


def as_whole_number(value: Any) -> int | None:
    """Return a whole number, which some senders write as a text or with a fraction of 0; None for null."""
    return int(value) if value is not None else None


def as_texts(value: Any) -> tuple[str, ...]:
    """Return the texts of a list; null stands for an empty one, and nulls in it are left out."""
    return tuple(item for item in value or () if item is not None)


def as_mapping(value: Any) -> dict[str, Any]:
    """Return a copy of an object; null stands for an empty one."""
    return copied(value) if value else {}


def as_lists_of_texts(value: Any) -> dict[str, list[str]]:
    """Return an object of lists of texts; null stands for an empty object and for an empty list."""
    return {key: list(as_texts(values)) for key, values in (value or {}).items()}
