"""Files that are loaded into this process, and forgotten."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PROJECT = f"{Path(__file__).parents[2]}{os.sep}"


@contextmanager
def loaded_files_forgotten() -> Iterator[None]:
    """Have files that are loaded meanwhile be no modules afterwards, except those of the project.

    Other tests load other files of these names.
    """
    path = [*sys.path]
    try:
        yield
    finally:
        if added := tuple(f"{folder}{os.sep}" for folder in sys.path if folder not in path):
            sys.path[:] = path
            for name, module in list(sys.modules.items()):
                file = getattr(module, "__file__", None) or ""
                if file.startswith(added) and not file.startswith(_PROJECT):
                    del sys.modules[name]
