"""Write the settings tables of docs and READMEs from the declarations of the settings: ``make settings``."""

from typing import Any

from extension_kit.runtime.contract import settings_classes
from extension_kit.settings.kit import Settings
from extension_kit.settings.readme_table import settings_table, with_settings_table
from tools.ready_made import ROOT, extensions

TABLES: dict[str, list[type[Any]]] = {
    "docs/reference/settings.md": [Settings],
    **{
        f"extensions/{folder}/README.md": settings_classes(extension)
        for folder, extension in extensions()
        if settings_table(*settings_classes(extension))
    },
}
"""The settings that each page lists."""


def main() -> None:
    """Write the tables.

    Raises:
        ValueError: a page does not have the two comments between which its table stands.
    """
    for name, classes in TABLES.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        try:
            text = with_settings_table(text, *classes)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        (ROOT / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
