"""The heap of the C library: one for all threads, and what is freed goes back to the system when it is asked for.

glibc gives each new thread a heap of its own, up to eight a core, and what is freed in one is neither used by other
threads nor given back (malloc_trim leaves the end of all but the first). Every session and each thread that calls it
left 6 MB in one of those with the smallest network: after ten sessions 50 MB that nobody used.
"""

import ctypes
import os
from contextlib import suppress

M_ARENA_MAX = -8  # malloc.h


def share_heap() -> None:
    """Have threads that start from now on use the first heap. MALLOC_ARENA_MAX in the environment has precedence.

    Of the whole process. Does nothing where the C library is not glibc, or where there are eight heaps by now.
    """
    if "MALLOC_ARENA_MAX" not in os.environ:
        with suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").mallopt(M_ARENA_MAX, 1)


def trim_heap() -> None:
    """Give memory that was freed back to the system. glibc keeps it; other libraries do not have to be told."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
