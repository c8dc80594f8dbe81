"""Where things are: the extensions and recorded bodies of the tests, and the commands of this environment."""

import sys
from pathlib import Path

APPS = Path(__file__).parents[1] / "apps"
DATA = Path(__file__).parents[1] / "data"
BIN = Path(sys.executable).parent
KIT = str(BIN / "extension-kit")
