"""What tells, without reading it, that a file was replaced or written."""

import os
import time
from pathlib import Path

SETTLED_S = 0.1
"""A file younger than that always looks as if it had changed: file systems count time in ticks (of up to 10 ms before
Linux 6.13), and what is written in place twice in one tick, half and then whole, has one time."""

Stamp = tuple[int, ...] | None
"""None where there is no file."""


def stamp(path: str | os.PathLike[str]) -> Stamp:
    """To be compared with an earlier one. The time of change tells files apart whose other facts a copying tool has
    preserved; it can't be set."""
    try:
        status = Path(path).stat()
    except (OSError, ValueError):  # ValueError: a name that no system has
        return None
    facts = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    now = time.time_ns()
    return facts if abs(now - status.st_ctime_ns) > SETTLED_S * 1e9 else (*facts, now)
