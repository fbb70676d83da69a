"""Memory of this process, and functions run in fresh processes, so that nothing is measured twice. Linux only."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from colora.devices.errors import BackendError

PROC = Path("/proc/self")
LINES = {"rss_bytes": "Rss", "pss_bytes": "Pss", "anonymous_bytes": "Anonymous", "peak_rss_bytes": "VmHWM"}
"""Field of Memory → line of /proc/self/smaps_rollup or, for the peak, of /proc/self/status."""


@dataclass(frozen=True)
class Memory:
    """Resident memory of a process as the Linux kernel counts it."""

    rss_bytes: int
    """All pages in memory, those of mapped files included."""
    pss_bytes: int
    """The same, with pages that n processes share counted as 1/n."""
    anonymous_bytes: int
    """Pages that belong to no file: they can't be dropped, only swapped out."""
    peak_rss_bytes: int
    """Largest RSS since the process started its program; unlike getrusage's, not inherited from its parent."""

    def __sub__(self, other: "Memory") -> "Memory":
        return Memory(*(getattr(self, f.name) - getattr(other, f.name) for f in fields(self)))


def median(runs: Sequence[Memory]) -> Memory:
    """Field by field."""
    return Memory(*(round(statistics.median(getattr(run, f.name) for run in runs)) for f in fields(Memory)))


def memory_now() -> Memory:
    """Of this process. Raises: BackendError where the kernel is not Linux 4.14 or later."""
    try:
        return parse_memory((PROC / "smaps_rollup").read_text() + (PROC / "status").read_text())
    except (OSError, KeyError) as e:
        raise BackendError(
            f"resident memory is read from {PROC}, which Linux 4.14 and later have: {e}"
        ) from e


def parse_memory(text: str) -> Memory:
    """From lines such as `Rss:  1756 kB` (kB is 1024 bytes here). Raises: KeyError for a line that is missing."""
    kib: dict[str, int] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if value.endswith(" kB"):
            kib[name] = int(value.split()[0])
    return Memory(**{field: 1024 * kib[name] for field, name in LINES.items()})


def in_fresh_process(
    function: str, *args: str | os.PathLike[str], variables: Mapping[str, str] | None = None
) -> Any:
    """What `module:function` makes of `args`, as strings, in a new Python process; the result travels as JSON.

    variables: of its environment, beside those of this process.
    Raises: BackendError with the last line that the process wrote to stderr.
    """
    module, _, name = function.partition(":")
    code = f"import json, sys; from {module} import {name}; print(json.dumps({name}(*sys.argv[1:])))"
    command = [sys.executable, "-c", code, *map(str, args)]
    own = os.environ | (variables or {})
    done = subprocess.run(command, capture_output=True, text=True, env=own)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise BackendError(f"{function} failed in a process of its own ({done.returncode}): {reason}")
    return json.loads(done.stdout.splitlines()[-1])
