"""What the chart renders for each of the values in ``cases/``: written anew by ``python -m tests.helm.snapshots``.

Look at the difference before it is committed; that is what the snapshots are for.
"""

from pathlib import Path
from typing import Any

import yaml

from tests.helm.chart import render

FOLDER = Path(__file__).parent / "snapshots"
CASES = {file.stem: file for file in sorted((Path(__file__).parent / "cases").glob("*.yaml"))}


def values(case: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(CASES[case].read_text(encoding="utf-8"))
    return found


def snapshot(case: str) -> str:
    """Everything that is rendered, each template under its name."""
    return "\n".join(f"##### {file}\n{text}" for file, text in render(values(case)).items())


if __name__ == "__main__":
    for old in FOLDER.glob("*.txt"):
        old.unlink()
    for case in CASES:
        (FOLDER / f"{case}.txt").write_text(snapshot(case), encoding="utf-8")
