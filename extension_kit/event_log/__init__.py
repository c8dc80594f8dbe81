"""Event log: a web page of its own port where people see events and their deliveries, and replay or discard them."""
