"""Observability: logs, access log, redaction and metrics."""
