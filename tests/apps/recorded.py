"""The extension of ledger.py, with a journal of all that its processes do to the files of databases."""

import os
from pathlib import Path

from ledger import extension as extension

from tests.support.recording_vfs import record

record(Path(os.environ["DISK_JOURNAL"]))
