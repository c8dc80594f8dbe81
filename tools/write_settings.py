"""Write the settings tables of the READMEs from the declarations of the settings: ``make settings``."""

import dataclasses
from typing import Any

from extension_kit.settings.kit import Settings
from extension_kit.settings.readme_table import with_settings_table
from tools.ready_made import ROOT, protocols

TABLES: dict[str, type[Any]] = {
    "README.md": Settings,
    **{
        f"extensions/{folder}/README.md": protocol.settings
        for folder, protocol in protocols()
        if dataclasses.fields(protocol.settings)
    },
}
"""The settings that each README lists."""


def main() -> None:
    """Write the tables.

    Raises:
        ValueError: a README does not have the two comments between which its table stands.
    """
    for name, settings in TABLES.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        try:
            text = with_settings_table(text, settings)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        (ROOT / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
