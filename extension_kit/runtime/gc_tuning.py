"""Memory tuning of a process after its start: garbage collector and malloc."""

import ctypes
import gc
from contextlib import suppress

_NEW_OBJECTS = 20_000  # allocated minus freed objects, after which the collector runs
_M_MMAP_THRESHOLD = -3  # of malloc.h
_LARGE = 512 * 1024  # bytes


def freeze() -> None:
    """Move all objects out of the collector's reach (``gc.freeze``) and raise its threshold. Call once, after start-up.

    Thousands of events that wait for their commit would otherwise trigger full collections again and again.

    Large bodies are given back to the system when they are freed. By default, glibc raises its threshold to the size of
    a freed block, and from then on keeps blocks of that size.
    """
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS)
    with suppress(OSError, AttributeError):  # only glibc has it
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE)
