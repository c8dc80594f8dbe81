"""Python's garbage collector, set up for a process that has started and works from now on."""

import gc

_NEW_OBJECTS = 20_000  # more than there were removed, after which it is looked for cycles among them


def spare_what_is_there() -> None:
    """Never look again through what modules have made, which stays; and look through new objects less often.

    While events wait for their commit, more of them are alive than Python expects: it would look through all objects
    again and again.
    """
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS)
