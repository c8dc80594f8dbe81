"""Memory, set up for a process that has started and works from now on."""

import ctypes
import gc
from contextlib import suppress

_NEW_OBJECTS = 20_000  # more than there were removed, after which it is looked for cycles among them
_M_MMAP_THRESHOLD = -3  # of malloc.h
_LARGE = 512 * 1024  # bytes


def spare_what_is_there() -> None:
    """Never look again through what modules have made, which stays; and look through new objects less often.

    While events wait for their commit, more of them are alive than Python expects: it would look through all objects
    again and again.

    Large bodies are given back to the system when they are freed. By itself, glibc takes up the size of what was freed,
    and from then on keeps blocks as large as that.
    """
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS)
    with suppress(OSError, AttributeError):  # only glibc has it
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE)
