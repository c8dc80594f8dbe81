"""An extension that reads everything of every event: what is accepted must be readable."""

from typing import Any

from extension_kit import Event, Extension
from extension_kit.events.views import View

extension = Extension("extension-reader", version="1.2.3")


def read(view: View) -> dict[str, Any]:
    """Read every public attribute of a view and of the views in it, and what is shown of them."""
    repr(view)
    names = [name for name in dir(view) if not name.startswith("_") and name not in ("from_body", "state")]
    values = ((name, getattr(view, name)) for name in names)
    return {name: read(value) if isinstance(value, View) else value for name, value in values}


@extension.listen_to("*", immediate=True)
def everything(event: Event) -> None:
    read(event)
