"""Loading of handler files and modules, and of the extensions they define."""

import importlib
import sys
import traceback
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from types import FunctionType, ModuleType

from extension_kit.errors import ConfigurationError, HandlerFileError
from extension_kit.extension import Extension

_EXTRAS = {
    "apscheduler": ("apscheduler",),
    "cryptography": ("tapis",),
    "jwt": ("croneye", "tapis"),
    "kombu": ("amqp",),
    "prometheus_client": ("metrics",),
    "pytest": ("testing",),
}
"""Module name -> extras of this package that install the module."""


def load_extensions(targets: Sequence[str]) -> list[Extension]:
    """Import every target and return the extensions in them, each once, in the order of the targets.

    Args:
        targets: files (``oncall.py``), folders with an ``__init__.py`` (``extensions/announce``), or names of modules
            (``company.oncall``).

    Raises:
        HandlerFileError: a target does not exist, raises while it is imported, or defines no extension.
    """
    extensions: dict[int, Extension] = {}
    folders: set[Path] = set()
    for target in targets:
        name, folder = _module_of(target)
        module = _import(target, name, folder)
        _refuse_helpers_of_others(module, target, folder, folders - {folder})
        folders.add(folder)
        found = [value for value in vars(module).values() if isinstance(value, Extension)]
        if not found:
            raise HandlerFileError(
                f"{target} defines no extension: write  extension = Extension('extension-...')  at its top level"
            )
        extensions.update((id(extension), extension) for extension in found)
    return list(extensions.values())


def _import(target: str, name: str, folder: Path) -> ModuleType:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    if (loaded := sys.modules.get(name)) is not None and not _is_from(loaded, target):
        raise HandlerFileError(f"{target}: another module called {name} is loaded already, rename the file")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise HandlerFileError(f"{target}: {_missing(error)}{_place(error, folder)}") from error
    except ConfigurationError as error:
        raise HandlerFileError(f"{target}: {error}{_place(error, folder)}") from error
    except (Exception, SystemExit) as error:
        raise HandlerFileError(f"{target}: {type(error).__name__}: {error}{_place(error, folder)}") from error


def _module_of(target: str) -> tuple[str, Path]:
    """Return the module name of a target, and the folder that must be on ``sys.path`` to import it."""
    path = Path(target)
    looks_like_path = "/" in target or target.endswith(".py") or path.exists()
    if not looks_like_path:
        return target, Path.cwd()
    if not path.exists():
        raise HandlerFileError(f"{target}: there is no such file or folder")
    if path.is_dir() and not (path / "__init__.py").exists():
        raise HandlerFileError(f"{target}: a folder needs an __init__.py that defines or imports the extension")
    if path.is_file() and path.suffix != ".py":
        raise HandlerFileError(f"{target}: a handler file ends in .py")
    path = path.resolve()
    if not path.stem.isidentifier():
        raise HandlerFileError(f"{target}: {path.stem} cannot be imported, name it with letters, digits and _")
    return path.stem, path.parent


def _is_from(module: ModuleType, target: str) -> bool:
    file = getattr(module, "__file__", None)
    path = Path(target)
    if not path.exists():
        return True
    return file is not None and Path(file).resolve() in (path.resolve(), path.resolve() / "__init__.py")


def _refuse_helpers_of_others(module: ModuleType, target: str, folder: Path, others: Collection[Path]) -> None:
    """Refuse a module that got another target's helper file, because Python imports a file name only once.

    Raises:
        HandlerFileError: the module uses a file of another target, although a file of that name is in its own folder.
    """
    for value in vars(module).values():
        if not isinstance(value, ModuleType | FunctionType | type):
            continue
        name = (value.__name__ if isinstance(value, ModuleType) else value.__module__).partition(".")[0]
        beside = [own for own in (folder / f"{name}.py", folder / name / "__init__.py") if own.exists()]
        if not beside or not (file := getattr(sys.modules.get(name), "__file__", None)):
            continue
        loaded = Path(file).resolve()
        if loaded not in (own.resolve() for own in beside) and any(map(loaded.is_relative_to, others)):
            raise HandlerFileError(f"{target}: another module called {name} is loaded already, rename {beside[0]}")


def _missing(error: ModuleNotFoundError) -> str:
    """Return the message for a missing module: the extra to install, that of the failing extension if several fit."""
    name = (error.name or "").partition(".")[0]
    extras = _EXTRAS.get(name, ())
    folders = {Path(frame.filename).parent.name for frame in traceback.extract_tb(error.__traceback__)}
    named = [extra for extra in extras if len(extras) == 1 or extra in folders]
    if not named:
        return f"{type(error).__name__}: {error}"
    return f"{name} is not installed: pip install 'extension-kit[{named[0]}]'"


def _place(error: BaseException, folder: Path) -> str:
    """Return file and line of the innermost frame in the user's files, or "" if there is none."""
    if isinstance(error, SyntaxError):
        return ""  # its text names file and line
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_relative_to(folder)
    ]
    return f" ({Path(frames[-1].filename).relative_to(folder)}, line {frames[-1].lineno})" if frames else ""


def watched_files(targets: Iterable[str]) -> list[str]:
    """Return the files of targets that are files or folders, which ``--reload`` watches."""
    files: list[str] = []
    for target in targets:
        path = Path(target).resolve()
        files.extend(str(file) for file in ([path] if path.is_file() else sorted(path.rglob("*.py"))))
    return files
