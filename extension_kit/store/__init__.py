"""Store: the database of events and deliveries, one SQLite file or PostgreSQL."""
