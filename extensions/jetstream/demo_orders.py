"""Functions for the demonstration: print orders."""

from extension_kit import Event, Extension

extension = Extension("extension-orders")


@extension.listen_to("jetstream.com.example.order.*")
def show(event: Event) -> None:
    """Print an order."""
    order = event.raw  # the CloudEvent
    print(f"{order['type']} {order['id']} of {order['source']}: {order['data']['total']}", flush=True)
