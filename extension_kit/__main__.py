"""The command line, by ``python -m extension_kit``."""

from extension_kit.cli import main

main()
