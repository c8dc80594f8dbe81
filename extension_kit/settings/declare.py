"""Setting declarations: fields of a frozen dataclass, each read from an environment variable."""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from extension_kit.errors import SettingError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

N = TypeVar("N", int, float)
S = TypeVar("S", bound="DataclassInstance")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

FILE_SUFFIX = "_FILE"
_SOCKET_PATH_BYTES = 107  # Linux keeps 108 bytes for it, the closing zero included
_SHOWN_CHARACTERS = 100


class Refusal(ValueError):
    """A value is not allowed. The message gives the reason and a correct form, and never the (perhaps secret) value."""


@dataclasses.dataclass(frozen=True)
class Kind(Generic[T_co]):
    """Parser of a value (``parse`` raises ValueError), and a phrase for the allowed values."""

    parse: Callable[[str], T_co]
    allowed: str = ""


def whole_number(low: int, high: int) -> Kind[int]:
    return _between(int, low, high, f"a whole number from {low} to {high}")


def seconds(low: float, high: float) -> Kind[float]:
    return _between(float, low, high, f"a number of seconds from {low} to {high}")


def one_of(*words: T, **other_spellings: T) -> Kind[T]:
    """Return the kind for one of some words, case-insensitive. ``other_spellings`` are accepted but not documented."""
    *most, last = map(str, words)
    return _spelled(
        {str(word): word for word in words} | other_spellings, f"{', '.join(most)} or {last}" if most else last
    )


def _between(convert: Callable[[str], N], low: N, high: N, allowed: str) -> Kind[N]:
    def parse(text: str) -> N:
        number = convert(text)
        if not low <= number <= high:  # this form also refuses NaN
            raise ValueError(text)
        return number

    return Kind(parse, allowed)


def _spelled(spellings: Mapping[str, T], allowed: str) -> Kind[T]:
    def parse(text: str) -> T:
        word = text.strip().lower()
        if word not in spellings:
            raise ValueError(text)
        return spellings[word]

    return Kind(parse, allowed)


def _socket_path(text: str) -> str:
    if len(os.fsencode(text)) > _SOCKET_PATH_BYTES:
        raise ValueError(text)
    return text


def _file_mode(text: str) -> str:
    if not re.fullmatch("0?[0-7]{3}", text.strip()):
        raise ValueError(text)
    return text.strip().zfill(4)


TEXT = Kind(str)
TRUE_OR_FALSE = _spelled({"true": True, "false": False}, "true or false")
IP_ADDRESS = Kind(lambda text: str(ipaddress.ip_address(text.strip())), "an IP address such as 0.0.0.0 or ::")
SOCKET_PATH = Kind(_socket_path, f"a path of at most {_SOCKET_PATH_BYTES} bytes")
FILE_MODE = Kind(_file_mode, "an octal number such as 0660")
PATHS = Kind(lambda text: tuple(path.strip() for path in text.split(",") if path.strip()))


@dataclasses.dataclass(frozen=True)
class Declaration:
    """Declaration of one setting, kept in its field's metadata."""

    variable: str
    kind: Kind[Any]
    meaning: str
    secret: bool
    section: str = ""
    acts_in: tuple[str, ...] = ()
    """The programs that heed it; empty: all."""


def setting(
    variable: str,
    default: T,
    kind: Kind[T],
    meaning: str,
    *,
    secret: bool = False,
    section: str = "",
    acts_in: tuple[str, ...] = (),
) -> T:
    """Declare a field of a frozen dataclass of settings.

    Args:
        variable: the environment variable.
        default: the value when it is not set.
        kind: how its text is read.
        meaning: a sentence or two for the README.
        secret: True keeps the value out of the dataclass's repr and out of errors.
        section: heading of its table in the README, if there are several; they have a column for ``acts_in``.
        acts_in: the programs that heed it.
    """
    declaration = Declaration(variable, kind, meaning, secret, section, acts_in)
    field: T = dataclasses.field(default=default, repr=not secret, metadata={"setting": declaration})
    return field


@dataclasses.dataclass(frozen=True)
class Section:
    """Section of a README's settings, most of which act in the same programs."""

    title: str
    acts_in: tuple[str, ...]

    def setting(
        self,
        variable: str,
        default: T,
        kind: Kind[T],
        meaning: str,
        *,
        secret: bool = False,
        acts_in: tuple[str, ...] | None = None,
    ) -> T:
        """Declare a field, as ``setting`` does; by default it acts where the section's settings do."""
        acts_in = self.acts_in if acts_in is None else acts_in
        return setting(variable, default, kind, meaning, secret=secret, section=self.title, acts_in=acts_in)


def read_settings(cls: type[S]) -> S:
    """Read a dataclass of settings, its fields declared with ``setting``, from the environment.

    The value of NAME may also come from the file named by NAME_FILE. An empty variable counts as unset. Trailing line
    breaks are dropped: files and Kubernetes secrets often end in one.

    Raises:
        SettingError: one line that names every variable with a value that is not allowed.
    """
    values: dict[str, Any] = {}
    problems: list[str] = []
    for name, declaration in declarations(cls):
        try:
            if text := _read(declaration.variable):
                values[name] = _parse(declaration, text)
        except SettingError as error:
            problems.append(str(error))
    if problems:
        raise SettingError("; ".join(problems))
    return cls(**values)


def declarations(cls: type[DataclassInstance]) -> Iterator[tuple[str, Declaration]]:
    """Yield the name and declaration of each field."""
    return ((field.name, field.metadata["setting"]) for field in dataclasses.fields(cls))


def _read(variable: str) -> str:
    """Return the text of a variable or of the file that it names; "" if neither is set."""
    text, path = os.environ.get(variable, ""), os.environ.get(variable + FILE_SUFFIX)
    if text and path:
        raise SettingError(f"{variable} and {variable}{FILE_SUFFIX} are both set: one of them is allowed")
    if path:
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, ValueError):
            raise SettingError(
                f"{variable}{FILE_SUFFIX} is {shown(path)}: the path of a readable text file is allowed"
            ) from None
    return text.rstrip("\r\n")


def _parse(declaration: Declaration, text: str) -> Any:
    try:
        return declaration.kind.parse(text)
    except Refusal as refusal:
        raise SettingError(f"{declaration.variable} cannot be used: {refusal}") from None
    except ValueError:
        value = "set to something else" if declaration.secret else shown(text)
        raise SettingError(f"{declaration.variable} is {value}: {declaration.kind.allowed} is allowed") from None


def shown(text: str) -> str:
    """Return a value for an error message: quoted, without line breaks, at most 100 characters."""
    return json.dumps(text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "...")
