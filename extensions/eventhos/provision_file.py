"""Files that describe systems, events, actions and contracts: YAML, read as the JSON values that it stands for."""

from math import isfinite
from typing import Any, BinaryIO

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError
from yaml.nodes import MappingNode, Node, ScalarNode

LARGEST = 1024**2
"""Maximum number of bytes of a file."""

_TAG = "tag:yaml.org,2002:"
_OF_JSON = [f"{_TAG}{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map")]
_INTEGERS = range(-(2**63), 2**64)


class FileProblem(ValueError):
    """A file cannot be used.

    Args:
        lines: the reasons, each with its place.
    """

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))


def read_file(file: BinaryIO) -> Any:
    """Return the value of a file.

    Raises:
        FileProblem: it cannot be read, is too large, or is no YAML with the values of JSON only.
    """
    name = file.name
    try:
        content = file.read(LARGEST + 1)
    except OSError as error:
        raise FileProblem(f"{name} cannot be read: {error.strerror}") from None
    if len(content) > LARGEST:
        raise FileProblem(f"{name} has more than {LARGEST} bytes: split it")
    try:
        return yaml.load(content.decode("utf-8-sig"), _Loader)  # noqa: S506 - a safe loader
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise FileProblem(f"{name}, line {line}: it is not UTF-8") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise FileProblem(f"{name}, line {mark.line + 1 if mark else 1}: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise FileProblem(f"{name} is no YAML: {getattr(error, 'reason', 'it cannot be read')}") from None
    except RecursionError:
        raise FileProblem(f"{name} is nested too deep") from None


class _Loader(yaml.SafeLoader):
    """Loads what JSON has, too; dates are texts. An alias would make a small file a large value."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - an attribute of PyYAML
        first: [(tag, pattern) for tag, pattern in found if tag in _OF_JSON]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        mark: Any = event.start_mark
        if isinstance(event, yaml.AliasEvent):
            raise ComposerError(None, None, "aliases (*name) are not allowed: write the value again", mark)
        if getattr(event, "tag", None) is not None:
            raise ComposerError(None, None, "tags (!name) are not allowed: put texts in quotes", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, ScalarNode) or key.tag != f"{_TAG}str":
                raise ConstructorError(None, None, "a key has to be a text: put it in quotes", key.start_mark)
            if key.value in keys:
                raise ConstructorError(None, None, f"the key {key.value:.100} comes twice", key.start_mark)
            keys.add(key.value)
        return super().construct_mapping(node, deep)


def _number(loader: yaml.SafeLoader, node: ScalarNode) -> int | float:
    is_integer = node.tag == f"{_TAG}int"
    try:
        number: int | float = (loader.construct_yaml_int if is_integer else loader.construct_yaml_float)(node)
        if number in _INTEGERS if is_integer else isfinite(number):
            return number
    except ValueError:
        pass  # PyYAML takes some texts for numbers, such as 0x_ and those with thousands of digits
    raise ConstructorError(None, None, "JSON has no such number: put it in quotes", node.start_mark)


def _text(loader: yaml.SafeLoader, node: ScalarNode) -> str:
    text: str = loader.construct_scalar(node)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConstructorError(None, None, "it holds half of a character", node.start_mark) from None
    return text


_Loader.add_constructor(f"{_TAG}int", _number)
_Loader.add_constructor(f"{_TAG}float", _number)
_Loader.add_constructor(f"{_TAG}str", _text)
