"""Memory between the stages of an export."""

from __future__ import annotations

import gc
from contextlib import suppress
from typing import TYPE_CHECKING

from colora.devices.errors import BackendFailed
from colora.runtime.heap import trim_heap

if TYPE_CHECKING:
    from colora.runtime.backend import Backend


def give_back() -> None:
    """Hand freed memory back to the system, where the C library can (glibc): the next stage else comes on top of it."""
    gc.collect()
    trim_heap()


def close_session(session: Backend) -> None:
    """Close it, and give back what its pictures took of the memory that all sessions of a process share."""
    with suppress(BackendFailed):  # a graph of one size does not take the small picture that `trim` runs
        session.trim()
    session.close()
    give_back()
