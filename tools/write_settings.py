"""Write the settings tables of the READMEs from the declarations of the settings: ``make settings``."""

from pathlib import Path

from extension_kit.settings.kit import Settings
from extension_kit.settings.readme_table import with_settings_table
from extensions.croneye.settings import CronEyeSettings
from extensions.tapis.settings import TapisSettings

ROOT = Path(__file__).parent.parent

TABLES = {
    "README.md": Settings,
    "extensions/croneye/README.md": CronEyeSettings,
    "extensions/tapis/README.md": TapisSettings,
}
"""The settings that each README lists."""


def main() -> None:
    """Write the tables."""
    for name, settings in TABLES.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        (ROOT / name).write_text(with_settings_table(text, settings), encoding="utf-8")


if __name__ == "__main__":
    main()
