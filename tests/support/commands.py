"""The command line in this process: a process of its own takes a second to start."""

import os
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from subprocess import CompletedProcess
from unittest.mock import patch

from extension_kit.cli import main
from tests.support.loaded_files import loaded_files_forgotten
from tests.support.logging_setup import logging_restored


def extension_kit(*arguments: object, cwd: Path | None = None, **environment: object) -> CompletedProcess[str]:
    """What ``extension-kit`` does with arguments and with no other settings than these."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("STEADYBIT_", "EXTENSION_"))}
    given = {name: str(value) for name, value in environment.items()}
    command = ["extension-kit", *map(str, arguments)]
    stdout, stderr = StringIO(), StringIO()
    with (
        chdir(cwd or Path.cwd()),
        patch.dict(os.environ, inherited | given, clear=True),
        patch.object(sys, "argv", command),
        loaded_files_forgotten(),
        logging_restored(),
        redirect_stdout(stdout),
        redirect_stderr(stderr),
    ):
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
        else:
            code = 0
    return CompletedProcess(command, code, stdout.getvalue(), stderr.getvalue())
