"""Expressions of bodies: JMESPath, whose functions and lists cannot grow beyond the work of one request."""

from collections.abc import Mapping
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError, JMESPathTypeError, ParseError
from jmespath.functions import Functions
from jmespath.visitor import TreeInterpreter

from .work import TooMuchWork, limited_work, spend, spend_bytes

_STEPS_OF_PART = 3

_FAILURES = (JMESPathError, ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""Errors of the interpreter; Python's own are those such as of a text compared with a number."""

_DEEP_FUNCTIONS = frozenset({"contains", "to_string"})
"""Functions that look at all parts of their arguments."""


class ExpressionError(ValueError):
    """An expression is no JMESPath, or cannot be evaluated for an event. The message holds no values of the event."""


class Expression:
    """A JMESPath expression.

    Args:
        text: the expression.

    Raises:
        ExpressionError: it is no JMESPath.
    """

    def __init__(self, text: str) -> None:
        try:
            self._parsed = jmespath.compile(text).parsed
        except ParseError as error:
            raise ExpressionError(f"no JMESPath: wrong at position {error.lex_position}") from None
        except (JMESPathError, ValueError, RecursionError) as error:
            raise ExpressionError(f"no JMESPath: {error}") from None

    def find(self, values: Mapping[str, Any]) -> Any:
        """Return the value of the expression.

        Args:
            values: ``headers``, ``query``, ``body`` and ``url`` of the event.

        Raises:
            ExpressionError: the values do not suit it, or it needs too much work.
        """
        try:
            with limited_work():
                return _Interpreter().visit(self._parsed, values)
        except TooMuchWork as error:
            raise ExpressionError(str(error)) from None
        except JMESPathTypeError as error:
            raise ExpressionError(f"{error.function_name}() takes no {error.actual_type}") from None
        # The interpreter lets Python's own errors pass, such as that of a text compared with a number.
        except (
            JMESPathError,
            ArithmeticError,
            AttributeError,
            LookupError,
            RuntimeError,
            TypeError,
            ValueError,
        ) as error:
            raise ExpressionError(type(error).__name__) from None


class _Interpreter(TreeInterpreter):
    """Evaluates an expression, and spends work for each part: a value that is used twice doubles what is written."""

    def __init__(self) -> None:
        super().__init__()
        self._known = Functions()

    def visit(self, node: Any, *args: Any, **kwargs: Any) -> Any:
        spend(_STEPS_OF_PART)
        return super().visit(node, *args, **kwargs)

    def visit_comparator(self, node: Any, value: Any) -> Any:
        sides = [self.visit(child, value) for child in node["children"]]
        _spend_size(sides[0])
        literals: list[Any] = [{"type": "literal", "value": side, "children": []} for side in sides]
        compared: Any = {**node, "children": literals}
        return super().visit_comparator(compared, value)

    def visit_flatten(self, node: Any, value: Any) -> Any:
        merged = super().visit_flatten(node, value)
        spend(len(merged or ()))
        return merged

    def visit_slice(self, node: Any, value: Any) -> Any:
        spend(len(value) if isinstance(value, list) else 0)
        return super().visit_slice(node, value)

    def visit_multi_select_list(self, node: Any, value: Any) -> Any:
        made = super().visit_multi_select_list(node, value)
        _spend_size(made)
        return made

    def visit_multi_select_dict(self, node: Any, value: Any) -> Any:
        made = super().visit_multi_select_dict(node, value)
        _spend_size(made)
        return made

    def visit_function_expression(self, node: Any, value: Any) -> Any:
        name = node["value"]
        arguments = [self.visit(child, value) for child in node["children"]]
        for argument in arguments:
            if name in _DEEP_FUNCTIONS:
                _spend_size(argument)
            elif isinstance(argument, dict | list):
                spend(len(argument))
        if name == "join" and len(arguments) > 1 and isinstance(arguments[1], list):
            texts = [each for each in arguments if isinstance(each, str)]
            spend_bytes(sum(map(len, texts)) * len(arguments[1]))
        found = self._known.call_function(name, arguments)
        if isinstance(found, str):
            spend_bytes(len(found))
        return found


def _spend_size(value: Any) -> None:
    """Spend a step for each part of a value, and the bytes of its texts."""
    if not isinstance(value, dict | list):
        return
    waiting = [value]
    while waiting:
        part = waiting.pop()
        spend(1 + len(part))
        if isinstance(part, dict):
            spend_bytes(sum(map(len, part)))
        for each in part.values() if isinstance(part, dict) else part:
            if isinstance(each, dict | list):
                waiting.append(each)
            elif isinstance(each, str):
                spend_bytes(len(each))
