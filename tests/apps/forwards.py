"""An extension that takes every event and does nothing with it: what is of interest is who else gets it."""

from extension_kit import Extension

extension = Extension("extension-forwards")


@extension.listen_to("*", path="/events")
def forward() -> None:
    """Leave it to the subscriptions."""
