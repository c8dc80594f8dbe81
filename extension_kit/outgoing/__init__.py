"""Outgoing connections: deadlines, proxies and the reading of HTTP answers, for senders and other clients."""
