"""Writes the settings table of the README anew, from the settings themselves: ``make settings``."""

from pathlib import Path

from extension_kit.settings import with_settings_table

README = Path(__file__).parent.parent / "README.md"

if __name__ == "__main__":
    README.write_text(with_settings_table(README.read_text(encoding="utf-8")), encoding="utf-8")
