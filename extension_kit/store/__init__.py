"""Where everything that must not be lost is kept: one SQLite file, or PostgreSQL."""
