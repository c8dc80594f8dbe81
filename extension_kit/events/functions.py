"""Functions that extensions give to decorators: their names, and where they stand."""

import inspect
from collections.abc import Callable


def name_of(function: Callable[..., object]) -> str:
    """Return the name of a function, or the class of another callable."""
    name: str = getattr(function, "__name__", type(function).__name__)
    return name


def stands_in_class(function: Callable[..., object]) -> bool:
    """Return True if a function is written in a class, where no object exists yet to call it on."""
    if isinstance(function, staticmethod | classmethod):
        return True
    if inspect.ismethod(function):
        return False
    scope = getattr(function, "__qualname__", "").rpartition(".")[0].rpartition(".")[2]
    return bool(scope) and not scope.startswith("<")  # <locals>, <listcomp>, <genexpr>
