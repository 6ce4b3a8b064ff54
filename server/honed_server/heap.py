"""What the C library keeps of the memory that was freed.

glibc gives each thread an arena of its own, and keeps what is freed there. Two are enough for
threads that allocate a few large buffers a batch, and hold less (docs/measurements.md). Other C
libraries have no arenas: there nothing happens.
"""

import ctypes

_M_ARENA_MAX = -8
_ARENAS = 2
_libc = ctypes.CDLL(None)


def limit_arenas() -> None:
    """Shares arenas among threads; call it before threads are started."""
    if mallopt := getattr(_libc, "mallopt", None):
        mallopt(_M_ARENA_MAX, _ARENAS)


def trim() -> None:
    """Gives freed memory back to the system; all threads that allocate wait for it."""
    if malloc_trim := getattr(_libc, "malloc_trim", None):
        malloc_trim(0)
