"""Sandbox of templates: Jinja2's, in which no template reaches other objects or takes work without end."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import wraps
from json import dumps
from typing import Any, cast

from jinja2 import StrictUndefined, nodes
from jinja2.exceptions import SecurityError, TemplateSyntaxError
from jinja2.filters import FILTERS
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.tests import TESTS
from jinja2.utils import htmlsafe_json_dumps
from jinja2.visitor import NodeTransformer
from markupsafe import Markup

from extension_kit.events.views import View
from extension_kit.templates.budget import STEP, current

_MOST_BITS = 256  # of a whole number
_OF_A_VIEW = 2000  # units: its attributes are made at each access, that of a step by a query
_METHODS: dict[type, frozenset[str]] = {
    str: frozenset(
        {"capitalize", "casefold", "count", "endswith", "find", "isalnum", "isalpha", "isdecimal", "isdigit", "islower"}
        | {"isspace", "isupper", "lower", "lstrip", "partition", "removeprefix", "removesuffix", "rpartition"}
        | {"rsplit", "rstrip", "split", "splitlines", "startswith", "strip", "title", "upper"}
    ),
    bytes: frozenset(),
    int: frozenset(),
    float: frozenset(),
    list: frozenset(),
    tuple: frozenset(),
}
_NOT_THERE = frozenset({"pprint", "random"})
_MULTIPLYING = frozenset(
    {"batch", "center", "format", "indent", "join", "replace", "round", "slice", "urlize", "wordwrap"}
)
"""Filters with results that may be as large as the product of their arguments."""

_WIDEST = 999  # characters to which a format fills up
_is_wide = re.compile(r"\d{4}|\*").search
_TESTS = cast("Mapping[str, Callable[..., Any]]", TESTS)
_REFUSED: dict[type[nodes.Node], str] = {
    nodes.Block: "block",
    nodes.Extends: "extends",
    nodes.FromImport: "from",
    nodes.Import: "import",
    nodes.Include: "include",
}


class Sandbox(ImmutableSandboxedEnvironment):
    """Environment of templates.

    Args:
        escape: ``html`` or ``json``: printed values are escaped; None: they are printed as they are.
    """

    intercepted_binops = frozenset({"+", "*", "%", "**"})

    def __init__(self, escape: str | None) -> None:
        # No expression is computed when a template is compiled: work is counted when it is rendered.
        super().__init__(
            undefined=StrictUndefined,
            autoescape=escape is not None,
            finalize=_printed_in_json if escape == "json" else _printed,
            optimized=False,
        )
        self.globals = {"range": self.globals["range"]}
        self.filters = {name: _counted(name, made) for name, made in FILTERS.items() if name not in _NOT_THERE}
        self.filters |= {"tojson": _counted("tojson", _to_json), "measured": _measured, "rounds": _rounds}
        self.tests = {name: _counted(name, made) for name, made in _TESTS.items()}

    @staticmethod
    def concat(parts: Iterable[str]) -> str:
        """Join the output of a block."""
        parts = list(parts)
        current().spend(sum(map(len, parts)))
        return "".join(parts)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        made: nodes.Template = _Counting().visit(super()._parse(source, name, filename))
        return made

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return an attribute that templates may read."""
        return self._read(obj, super().getattr(obj, attribute))

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Return an item or an attribute that templates may read."""
        return self._read(obj, super().getitem(obj, argument))

    def _read(self, obj: Any, value: Any) -> Any:
        if isinstance(obj, View):
            current().spend(_OF_A_VIEW)
            current().spend_on(value)
        return value

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Return True for an attribute without work that cannot be counted."""
        if isinstance(obj, View) and callable(value):
            return False
        kinds = (names for kind, names in _METHODS.items() if isinstance(obj, kind))
        return all(attr in names for names in kinds) and super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> None:
        """Leave ``str.format`` to ``is_safe_attribute``, which refuses it."""

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call a function or method."""
        current().spend(STEP)
        current().spend_on(*args, *kwargs.values())
        result = super().call(context, obj, *args, **kwargs)
        current().spend_on(result)
        return result

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Compute with numbers; ``+`` also joins texts and lists."""
        if operator == "**":
            raise SecurityError("there is no operator ** in templates")
        if operator in "*%" and not (isinstance(left, int | float) and isinstance(right, int | float)):
            raise SecurityError(f"the operator {operator} is for numbers")
        current().spend_on(left, right)
        result = super().call_binop(context, operator, left, right)
        if isinstance(result, int) and result.bit_length() > _MOST_BITS:
            raise SecurityError("the number is too large")
        return result


class _Counting(NodeTransformer):
    """Has a template count the work of its loops, its comparisons, and the values that it makes."""

    def generic_visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> nodes.Node:
        """Return a node that counts its work.

        Raises:
            TemplateSyntaxError: the node is not available.
        """
        if name := _REFUSED.get(type(node)):
            raise TemplateSyntaxError(f"{{% {name} %}} is not available", node.lineno)
        if isinstance(node, nodes.For) and node.recursive:
            raise TemplateSyntaxError("recursive loops are not available", node.lineno)
        super().generic_visit(node, *args, **kwargs)
        match node:
            case nodes.For():
                node.iter = _filtered(node.iter, "rounds")
            case nodes.Concat():
                return _filtered(nodes.List(node.nodes, lineno=node.lineno), "join")
            case nodes.Compare():
                node.expr = _filtered(node.expr, "measured")
                for operand in node.ops:
                    operand.expr = _filtered(operand.expr, "measured")
            case nodes.Getitem(arg=nodes.Slice()) | nodes.List() | nodes.Dict() | nodes.Tuple(ctx="load"):
                return _filtered(node, "measured")
        return node


def _filtered(node: nodes.Node, name: str) -> nodes.Filter:
    return nodes.Filter(cast("nodes.Expr", node), name, [], [], None, None, lineno=node.lineno)


def _counted(name: str, made: Callable[..., Any]) -> Callable[..., Any]:
    """Return a filter or test that counts its work: of its arguments before it, and of a new result after it."""
    first = 1 if hasattr(made, "jinja_pass_arg") else 0  # Jinja2's context comes before the value

    @wraps(made)
    def counted(*args: Any, **kwargs: Any) -> Any:
        budget = current()
        budget.spend(STEP)
        size = budget.spend_on(args[first])
        others = [*args[first + 1 :], *kwargs.values()]
        factor = budget.spend_on(*others)
        if name == "format":
            factor += _WIDEST
            if _is_wide(str(args[first])):
                raise SecurityError(f"a format has widths up to {_WIDEST}, and no *")
        elif name in _MULTIPLYING:
            factor += sum(abs(each) for each in others if isinstance(each, int))
        if name in _MULTIPLYING:
            budget.spend(size * factor)
        if name == "sum" and any(isinstance(each, list | tuple) for each in others):
            raise SecurityError("sum is for numbers")
        result = made(*args, **kwargs)
        if isinstance(result, Iterator):
            result = list(_consumed(result))
        budget.spend_on(result)
        return result

    return counted


def _consumed(result: Iterator[Any]) -> Iterator[Any]:
    for each in result:
        current().spend(STEP)
        yield each


def _measured(value: Any) -> Any:
    current().spend_on(value)
    return value


def _rounds(value: Any) -> list[Any]:
    made = list(value)
    current().spend(STEP * len(made))
    return made


def _to_json(value: Any) -> Markup:
    return htmlsafe_json_dumps(value, default=_plain, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, View):
        return _measured(value.raw)
    raise TypeError(f"{type(value).__name__} is not available in JSON")


def _printed(value: Any) -> Any:
    current().spend_on(value)
    return "" if value is None else value


def _printed_in_json(value: Any) -> Any:
    shown = _printed(value)
    return shown if isinstance(shown, Markup | StrictUndefined) else Markup(dumps(str(shown))[1:-1])  # noqa: S704
