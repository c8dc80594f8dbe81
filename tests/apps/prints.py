import atexit

from extension_kit import Event, Extension

extension = Extension("extension-prints")
atexit.register(print, "atexit")


@extension.listen_to("*", immediate=True)
def prints(event: Event) -> None:
    print("printed by", "a function:", "x" * 200)
