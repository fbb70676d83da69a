"""One training at a time in a folder: two would overwrite each other's states, and leave one nothing to go on from."""

import errno
import os
from pathlib import Path

from colora.devices.errors import CheckpointError


def hold(folder: Path) -> int:
    """Makes `folder` and keeps trainings of other processes out of it, until the handle returned is closed or this
    process ends, killed or not. Where the system has no such locks (Windows, some network drives) nobody is kept out.

    Raises CheckpointError where another process trains there, and where nothing can be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise CheckpointError(
            f"{folder}: nothing can be written there ({error.strerror}): give another output (-o)"
        ) from error
    try:
        from fcntl import LOCK_EX, LOCK_NB, lockf

        lockf(handle, LOCK_EX | LOCK_NB)  # this process's alone: forked workers that outlive it don't have it
    except ImportError:
        pass
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            os.close(handle)
            raise CheckpointError(
                f"{folder}: another process trains there: wait for its end, or give another output (-o)"
            ) from error
    return handle
