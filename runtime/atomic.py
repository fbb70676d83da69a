"""Writing so that a kill, a crash or a full disk leaves what was there before whole.

Everything is built under a hidden name beside its target (same file system), flushed to the disk, and
only then put in its place by one rename. Names are `.<target>.<pid>-<random>.partial`; what a killed
process left behind is swept away when another process writes the same target.
"""

import ctypes
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

RENAME_EXCHANGE = 2  # linux/fs.h
AT_FDCWD = -100  # fcntl.h
NAME_BYTES = 200
"""Of a target's name in that of its partial: a name has at most 255, and some thirty come around it."""

_found: dict[Path, list[Path]] = {}
"""Folder → what others had left there, or were writing, before this process first wrote there."""


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a path to write to: it becomes `path` when the block ends well, and is removed when it does not.

    Raises: OSError of whatever failed, with the old file untouched.
    """
    target = Path(path).resolve()
    partial = _partial(target)
    try:
        yield partial
        flush(partial)
        partial.replace(target)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise
    flush(target.parent)


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `path`, whole or not at all."""
    with atomic_file(path) as partial:
        partial.write_bytes(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` to `path` in UTF-8, whole or not at all."""
    write_bytes(path, text.encode())


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield an empty folder to fill: it becomes `path` when the block ends well, and is removed when not.

    Folders above it that are missing are made, and those go again too. An existing folder is exchanged in one
    step where the system can (Linux), so `path` is at every moment the old or the new folder, whole. Elsewhere
    the old one is moved aside first, and back if the next rename fails.
    """
    target = Path(path).resolve()
    partial = _partial(target)
    made = [parent for parent in partial.parents if not parent.exists()]
    try:
        partial.mkdir(parents=True)
        yield partial
        for folder, _, names in os.walk(partial):
            for name in names:
                flush(Path(folder, name))
            flush(Path(folder))
        if target.is_dir():
            _swap(partial, target)
        else:
            partial.rename(target)
        flush(target.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)  # after a swap this is the old folder
        with suppress(OSError):  # the first that holds something: the new folder, if all went well
            for parent in made:
                parent.rmdir()


def flush(path: Path) -> None:
    """Ask the system to put a file's bytes, or a folder's names, on the disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows has no handle on a folder to flush
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _partial(target: Path) -> Path:
    """A fresh hidden name beside `target`; removes those of processes that no longer run.

    A folder is listed once, not for each of the files written there, before there is any partial of this process: one
    with its number is of an earlier life, as in a container, where every start may have the same.
    """
    folder, mine = target.parent, os.getpid()
    start = f".{target.name.encode(errors='ignore')[:NAME_BYTES].decode(errors='ignore')}."
    if folder not in _found:
        _found.setdefault(folder, list(folder.glob(".*.*-*.partial")))  # of two threads the first
    for stale in _found[folder]:
        pid = stale.name.removeprefix(start).partition("-")[0]
        if pid.isdecimal() and (int(pid) == mine or not _alive(int(pid))):
            if stale.is_dir():
                shutil.rmtree(stale, ignore_errors=True)
            else:
                with suppress(OSError):
                    stale.unlink()
    return target.with_name(f"{start}{mine}-{secrets.token_hex(4)}.partial")


def _alive(pid: int) -> bool:
    if os.name == "nt":
        return True  # os.kill(pid, 0) would end the process there
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _swap(new: Path, old: Path) -> None:
    """Exchange two folders: one system call on Linux, else two renames.

    A kill between the two leaves the old folder whole as `.<name>.….previous`.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        rename = getattr(libc, "renameat2", None)  # glibc 2.28 and later
        if rename is not None and rename(AT_FDCWD, bytes(new), AT_FDCWD, bytes(old), RENAME_EXCHANGE) == 0:
            return
    aside = new.with_suffix(".previous")
    old.rename(aside)
    try:
        new.rename(old)
    except BaseException:
        aside.rename(old)
        raise
    aside.rename(new)
