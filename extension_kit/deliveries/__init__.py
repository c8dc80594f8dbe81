"""Deliveries: one per event and listener, retried until delivered or dead."""
