"""One command for each figure about speed: ``python -m benchmarks``. README.md says how to read what it prints."""
