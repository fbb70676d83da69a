"""This machine, as far as what was found out on it depends on it, and the folder where that is remembered."""

import os
import platform
from pathlib import Path


def cache_folder() -> Path:
    """`colora` in $XDG_CACHE_HOME, else in `~/.cache`. It may not be there, nor be writeable."""
    if root := os.environ.get("XDG_CACHE_HOME", ""):
        return Path(root, "colora")
    try:
        return Path("~/.cache/colora").expanduser()
    except RuntimeError:  # no $HOME, and a user without a name: a container run under any number
        return Path(os.devnull, "colora")  # where nothing can be


def cpu_facts() -> list[str]:
    """Names and features of the processor's cores."""
    told = ("model name", "flags", "CPU implementer", "CPU part", "Features")
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return sorted({line for line in lines if line.startswith(told)}) or [
        platform.processor(),
        platform.machine(),
    ]
