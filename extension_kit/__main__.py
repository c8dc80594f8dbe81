from extension_kit.cli import main

main()
