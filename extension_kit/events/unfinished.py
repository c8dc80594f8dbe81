"""Unfinished results of functions: coroutines, generators and other work that a plain call does not run."""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from functools import partial


def refuse_unfinished(result: object, name: str) -> None:
    """Refuse an unfinished result, such as a coroutine, which is closed, or a generator.

    Args:
        result: the value that the function returned.
        name: the name of the function, for the error.

    Raises:
        TypeError: the result is unfinished.
    """
    if isinstance(result, Awaitable):
        if inspect.iscoroutine(result):
            result.close()  # else Python warns when it is collected
        raise TypeError(
            f"{name} returned an awaitable ({type(result).__name__}), which is never awaited, so nothing was done: "
            "call asyncio.run() in it where you need to, or write it with async def if it is a listener"
        )
    if isinstance(result, Generator | AsyncIterator | map | filter):
        raise TypeError(
            f"{name} returned an iterator ({type(result).__name__}), which is never consumed, so nothing was done: "
            "leave yield out, or do the work in a loop"
        )


def unfinished_kind(function: Callable[..., object]) -> str | None:
    """Return ``async`` or ``yield`` if that keyword keeps a call from doing the work, else None."""
    while isinstance(function, partial):
        function = function.func
    called = function if inspect.isroutine(function) else getattr(function, "__call__", None)  # noqa: B004
    if inspect.isgeneratorfunction(called) or inspect.isasyncgenfunction(called):
        return "yield"
    return "async" if inspect.iscoroutinefunction(called) else None
