"""Settings of an extension: the class is checked when the extension is declared, and again beside the others served."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from extension_kit.errors import RegistrationError
from extension_kit.settings.declare import FILE_SUFFIX, Declaration, declarations
from extension_kit.settings.kit import Settings

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

# Beside its own variables an extension may have those that OpenTelemetry gives to every program.
_VARIABLE = re.compile(r"(EXTENSION|OTEL)(_[A-Z0-9]+)+")


def check_settings_class(cls: type[DataclassInstance]) -> None:
    """Check the class with which an extension declares its settings.

    Raises:
        RegistrationError: it is not a frozen dataclass of ``setting(...)`` fields, or a variable has a name that it
            cannot have.
    """
    options = getattr(cls, "__dataclass_params__", None)
    if not isinstance(cls, type) or options is None or not options.frozen:
        raise RegistrationError(f"settings= takes a class with @dataclass(frozen=True) above it, not {cls!r:.80}")
    for field in dataclasses.fields(cls):
        if not isinstance(field.metadata.get("setting"), Declaration):
            raise RegistrationError(
                f"{cls.__name__}.{field.name} is not declared as a setting: write "
                f"{field.name}: ... = setting('EXTENSION_...', default, kind, meaning)"
            )
    variables = [declaration.variable for _, declaration in declarations(cls)]
    for variable in variables:
        if not _VARIABLE.fullmatch(variable):
            raise RegistrationError(
                f"{cls.__name__}: the variable of a setting is like EXTENSION_ONCALL_URL, not {variable!r:.80}"
            )
        if variables.count(variable) > 1:
            raise RegistrationError(f"{cls.__name__}: {variable} is declared twice")
        if variable.removesuffix(FILE_SUFFIX) in _kit_variables():
            raise RegistrationError(f"{cls.__name__}: {variable} is a setting of the kit itself: choose another name")


def refuse_contradictions(declared: Iterable[tuple[str, type[DataclassInstance]]]) -> None:
    """Check that settings of extensions that are served together agree about their variables.

    Args:
        declared: names of extensions, each with a class of settings of it.

    Raises:
        RegistrationError: two of them declare a variable with different kinds or defaults, or one as a secret only.
    """
    known: dict[str, tuple[str, object]] = {}
    for name, cls in declared:
        defaults = {field.name: field.default for field in dataclasses.fields(cls)}
        for field_name, declaration in declarations(cls):
            use = (declaration.kind.allowed, defaults[field_name], declaration.secret)
            other, other_use = known.setdefault(declaration.variable, (name, use))
            if use != other_use:
                raise RegistrationError(
                    f"{declaration.variable} is declared by {other} and in another way by {name}: "
                    "serve one of them, or rename it in one"
                )


def _kit_variables() -> set[str]:
    own = {declaration.variable for _, declaration in declarations(Settings)}
    return own | {variable.removesuffix(FILE_SUFFIX) for variable in own}
