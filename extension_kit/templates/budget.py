"""Budgets: the work that one rendering may take, counted where a template can make it grow.

Nothing interrupts Python within a call. So work is counted before it is done: values by their size, loops by their
rounds. A text is counted by its characters, a list or an object by all that is in it.
"""

from collections.abc import Collection, Iterator, Set, ValuesView
from contextlib import contextmanager
from contextvars import ContextVar

from jinja2.exceptions import TemplateRuntimeError

WORK = 10_000_000
"""Units of work of a rendering: about as many characters; some seconds at most."""

STEP = 100
"""Units of a call, or of a round of a loop."""

_OF_A_VALUE = 20  # units of each text, number, list or object in a value

_TOO_MUCH = "it takes too much work: use shorter texts and loops"


class Budget:
    """The work that is left to one rendering."""

    def __init__(self, work: int = WORK) -> None:
        self.left = work

    def spend(self, work: int) -> None:
        """Count work that is about to be done.

        Raises:
            TemplateRuntimeError: there is too much of it.
        """
        self.left -= work
        if self.left < 0:
            raise TemplateRuntimeError(_TOO_MUCH)

    def spend_on(self, *values: object) -> int:
        """Count values by their sizes, and return the sum of these.

        Raises:
            TemplateRuntimeError: they are too large.
        """
        before = self.left
        waiting = list(values)
        while waiting:
            value = waiting.pop()
            self.spend(_OF_A_VALUE)
            kind = type(value)
            if kind is int or kind is float or kind is bool or value is None:
                continue
            if isinstance(value, str | bytes | range):
                self.spend(len(value))
            elif isinstance(value, dict):
                waiting.extend(self._inner(value))
                waiting.extend(value.values())
            elif isinstance(value, list | tuple | Set | ValuesView):
                waiting.extend(self._inner(value))
        return before - self.left

    def _inner(self, value: Collection[object]) -> Collection[object]:
        """Return a collection that is small enough to look through."""
        self.spend(len(value))
        return value


_current: ContextVar[Budget] = ContextVar("budget")


def current() -> Budget:
    """Return the budget of the rendering that runs in this thread."""
    return _current.get()


@contextmanager
def new_budget() -> Iterator[None]:
    """Give the renderings within the context a new budget."""
    token = _current.set(Budget())
    try:
        yield
    finally:
        _current.reset(token)
