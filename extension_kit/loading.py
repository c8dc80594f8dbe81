"""Loading of handler files and modules, and of the extensions they define."""

import importlib
import sys
import traceback
import warnings
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import PathFinder
from importlib.metadata import metadata
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TextIO

from extension_kit.errors import ConfigurationError, HandlerFileError, OlderSchema, RenamedWarning
from extension_kit.extension import Extension
from extension_kit.runtime.service import Service
from extension_kit.settings.kit import Settings

_READY_MADE = Path("extensions")  # in a checkout, and in the image
_EXTRAS = {
    "apscheduler": "apscheduler",
    "kombu": "amqp",
    "nats": "nats",
    "opentelemetry": "otel",
    "prometheus_client": "metrics",
    "pytest": "testing",
}
"""Module name -> extra of this package that installs the module. Others belong to the extension of their name."""


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
        with _renamed_names() as renamed:
            module = _import(target, name, folder)
        _refuse_helpers_of_others(module, target, folder, folders - {folder})
        folders.add(folder)
        found = [value for value in vars(module).values() if isinstance(value, Extension)]
        if not found:
            raise HandlerFileError(
                f"{target} defines no extension: write  extension = Extension('extension-...')  at its top level"
            )
        found[0].registry.renamed.extend(renamed)
        extensions.update((id(extension), extension) for extension in found)
    return list(extensions.values())


def open_service(targets: Sequence[str], settings: Settings) -> Service:
    """Load every target, and return a service of the extensions that is ready to serve.

    Args:
        targets: as for ``load_extensions``.
        settings: the kit's settings.

    Raises:
        ConfigurationError: a target cannot be loaded, there is nothing to serve, or a setting has a bad value.
        StoreError: the database cannot be used, or has to be upgraded first, with the command for that.
    """
    service = Service.of(load_extensions(targets), settings)
    with upgrade_advice(targets, service):
        return service.open()


@contextmanager
def upgrade_advice(targets: Sequence[str], service: Service) -> Iterator[None]:
    """Have the error of a database that has to be upgraded name the targets of a service, if any has tables.

    Raises:
        OlderSchema: with the targets.
    """
    try:
        yield
    except OlderSchema as error:
        if not any(bound.protocol.tables for bound in service.protocols):
            raise
        raise OlderSchema(error.problem, targets=targets) from None


def is_target(word: str) -> bool:
    """Return True for a path, and for the name of a module that can be found, which is not imported."""
    return (
        _looks_like_path(word) or PathFinder.find_spec(word.partition(".")[0], [str(Path.cwd()), *sys.path]) is not None
    )


@contextmanager
def _renamed_names() -> Iterator[list[str]]:
    """Collect warnings about former names of the kit, for the log; Python shows them to no user of a server."""
    lines: list[str] = []
    show = warnings.showwarning

    def collect(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, RenamedWarning):
            lines.append(f"{message} ({Path(filename).name}, line {lineno})")
        else:
            show(message, category, filename, lineno, file, line)

    with warnings.catch_warnings():
        warnings.filterwarnings("always", category=RenamedWarning)
        warnings.showwarning = collect
        yield lines


def _import(target: str, name: str, folder: Path) -> ModuleType:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    if (loaded := sys.modules.get(name)) is not None and not _is_from(loaded, target):
        raise HandlerFileError(f"{target}: another module called {name} is loaded already, rename the file")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise HandlerFileError(f"{target}: {_missing(error, target)}{_place(error, folder)}") from error
    except ConfigurationError as error:
        raise HandlerFileError(f"{target}: {error}{_place(error, folder)}") from error
    except (Exception, SystemExit) as error:
        raise HandlerFileError(f"{target}: {type(error).__name__}: {error}{_place(error, folder)}") from error


def _module_of(target: str) -> tuple[str, Path]:
    """Return the module name of a target, and the folder that must be on ``sys.path`` to import it."""
    path = Path(target)
    if not _looks_like_path(target):
        return target, Path.cwd()
    if not path.exists():
        hint = _did_you_mean(Path(f"{path}.py")) or (_ready_made_hint(path.name) if path.parent == _READY_MADE else "")
        raise HandlerFileError(f"{target}: there is no such file or folder{hint}")
    if path.is_dir() and not (path / "__init__.py").exists():
        handlers = [file for file in path.glob("*.py") if not file.name.startswith("test_")]
        hint = _did_you_mean(*[Path(f"{path}.py"), *handlers])
        raise HandlerFileError(f"{target}: a folder needs an __init__.py that defines or imports the extension{hint}")
    if path.is_file() and path.suffix != ".py":
        raise HandlerFileError(f"{target}: a handler file ends in .py")
    path = path.resolve()
    if not path.stem.isidentifier():
        raise HandlerFileError(f"{target}: {path.stem} cannot be imported, name it with letters, digits and _")
    return path.stem, path.parent


def folder_of(target: str) -> Path:
    """Return the folder of a target that is a file or folder; the current one for a module."""
    path = Path(target).resolve()
    return path if path.is_dir() else path.parent if path.exists() else Path.cwd()


def _looks_like_path(target: str) -> bool:
    return "/" in target or target.endswith(".py") or Path(target).exists()


def _did_you_mean(*files: Path) -> str:
    """Return the end of a message that names the one of these files that exists, or "" if there is none or several."""
    found = [file for file in files if file.is_file()]
    return f"; did you mean {found[0]}?" if len(found) == 1 else ""


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


def _missing(error: ModuleNotFoundError, target: str) -> str:
    """Return the message for a missing module: the extra to install, which may be that of a ready-made extension."""
    name = (error.name or "").partition(".")[0]
    if name == target and name not in _EXTRAS:
        return f"there is no such file, folder or module{_ready_made_hint(name)}"
    if (extra := _EXTRAS.get(name) or _extra_of_extension(error, name)) is None:
        return f"{type(error).__name__}: {error}"
    return f"{name} is not installed: pip install 'extension-kit[{extra}]'"


def _ready_made_hint(name: str) -> str:
    """Return the end of a message for the name of a ready-made extension, or "" for other names."""
    if (_READY_MADE / name / "__init__.py").exists():
        return f"; did you mean {_READY_MADE / name}?"
    if name in _extension_extras():
        return f": the folder {_READY_MADE / name} is in a checkout of extension-kit, and in its image; run this there"
    return ""


def _extension_extras() -> set[str]:
    """Return the extras that are called like ready-made extensions."""
    return set(metadata("extension-kit").get_all("Provides-Extra") or ()) - {*_EXTRAS.values(), "image", "all"}


def _extra_of_extension(error: BaseException, missing: str) -> str | None:
    """Return the extra that is called like the extension whose files import a missing module, if there is one."""
    extras = _extension_extras()
    folders = (Path(frame.filename).parent.name for frame in traceback.extract_tb(error.__traceback__))
    return next((folder for folder in folders if folder in extras and folder != missing), None)


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
