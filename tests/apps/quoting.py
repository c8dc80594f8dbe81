"""Gives up every event with an error that quotes its note: for pages that show texts from outside."""

from extension_kit import Event, Extension, GiveUp

extension = Extension("quoting")


@extension.listen_to("*")
def quote(event: Event) -> None:
    raise GiveUp(event.raw["note"])
