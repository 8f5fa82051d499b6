"""What the C library does with memory that is given back to it."""

from __future__ import annotations

import ctypes
import sys

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> None:
    """Makes this process keep the memory that it frees, to take it again.

    A compiled program asks for all its temporary memory in every call. glibc fetches large pieces
    from Linux and returns them at once, so that every page of them is cleared and mapped anew in
    each training step: of one of MiniLM (750 MiB) on two CPU cores that took a fifth of the time.
    The price is memory: pieces of a kept heap do not always fit what is asked for next, so that a
    process may hold more than it uses. Other C libraries than glibc are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return
    # No pieces of their own, no end of the heap that is cut off, and one heap for all threads: only
    # the first may grow beyond 64 MiB.
    for option, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_ARENA_MAX, 1)):
        mallopt(option, value)
