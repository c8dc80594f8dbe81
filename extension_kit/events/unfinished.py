"""Results that are work still to be done: what an ``async def`` returns when it is called, or a function with yield."""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from functools import partial


def refuse_unfinished(result: object, name: str) -> None:
    """Refuse what a function returned where nobody does the work that it stands for; a coroutine is closed.

    Args:
        result: what was returned.
        name: the function's, for the error.

    Raises:
        TypeError: nothing was done yet.
    """
    if isinstance(result, Awaitable):
        if inspect.iscoroutine(result):
            result.close()  # else Python warns wherever it happens to be collected
        raise TypeError(
            f"{name} returned something to await ({type(result).__name__}), which nobody does, so that nothing was "
            "done: write it with def, and call asyncio.run() in it where you need to"
        )
    if isinstance(result, Generator | AsyncIterator | map | filter):
        raise TypeError(
            f"{name} returned something to go through ({type(result).__name__}), which nobody does, so that nothing "
            "was done: leave yield out, or do the work in a loop"
        )


def unfinished_kind(function: Callable[..., object]) -> str | None:
    """Which word of ``async`` and ``yield`` keeps a function from doing anything when it is called; None: neither."""
    while isinstance(function, partial):
        function = function.func
    called = function if inspect.isroutine(function) else getattr(function, "__call__", None)  # noqa: B004
    if inspect.isgeneratorfunction(called) or inspect.isasyncgenfunction(called):
        return "yield"
    return "async" if inspect.iscoroutinefunction(called) else None
