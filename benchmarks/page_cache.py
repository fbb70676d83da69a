"""Files put out of the system's memory, so that reading them begins at the disk again. Linux, no special rights."""

import ctypes
import mmap
import os
from collections.abc import Iterable
from pathlib import Path


def evict(files: Iterable[Path]) -> None:
    """Ask the system to forget the pages of `files`; what another process maps stays, and what has no disk."""
    for file in files:
        with file.open("rb") as opened:
            os.fsync(opened)  # pages that are not written yet can't be forgotten
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def in_memory(file: Path) -> float:
    """Share of the file's pages that can be read without the disk (mincore); 0 for an empty file."""
    size = file.stat().st_size
    if not size:
        return 0.0
    pages = (ctypes.c_ubyte * -(-size // mmap.PAGESIZE))()
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), size, access=mmap.ACCESS_COPY) as mapped:
        view = (ctypes.c_char * size).from_buffer(mapped)
        failed = ctypes.CDLL(None).mincore(
            ctypes.c_void_p(ctypes.addressof(view)), ctypes.c_size_t(size), pages
        )
        del view  # or the mapping can't be closed
    if failed:
        raise OSError(f"mincore of {file} failed")
    return sum(page & 1 for page in pages) / len(pages)
