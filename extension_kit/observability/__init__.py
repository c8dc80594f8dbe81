"""Logs, access log, redaction and metrics."""
