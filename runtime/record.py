"""Where and with what a measurement was made, and the file that keeps it: the same for a workstation and a board."""

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from colora.devices.fit import find_fitting
from colora.devices.probe import probe
from colora.runtime.atomic import write_text

FORMAT = 2
"""Of what all records have in common; benchmarks/schema.py reads those before."""
ROOT = Path(__file__).parents[1]
RESULTS = Path("benchmarks/results")


@dataclass(frozen=True)
class Environment:
    """Of one measurement."""

    date_utc: str
    commit: str
    """Empty where the source is no git checkout."""
    clean_tree: bool
    """No change in the checkout since that commit, other records apart: only such records count."""
    cpu: str
    cores: int
    """That this process may use."""
    memory_bytes: int
    machine: str
    os: str
    governor: str
    """Of the clock; `unknown` where the system does not tell."""
    load_average_1min: float
    """At the start: above about 0.5, something else was running."""
    python: str
    packages: dict[str, str]
    device: str = ""
    """Of the table of devices; empty where none fits."""
    board: str = ""
    """What the device tree calls it; empty for what is no board. Likewise the next three."""
    l4t: str = ""
    power_mode: str = ""
    tensorrt: str = ""
    """Of the system's Python module; pip's are among the packages."""
    gpus: tuple[str, ...] = ()


def environment(packages: Iterable[str]) -> Environment:
    """The present one. packages: distributions whose versions matter; those not installed are left out."""
    here = probe()
    fitting = find_fitting(here)
    installed = {d.metadata["Name"].lower().replace("_", "-") for d in metadata.distributions()}
    return Environment(
        date_utc=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        commit=_git("rev-parse", "HEAD"),
        clean_tree=bool(_git("rev-parse", "HEAD"))
        and not _git("status", "--porcelain", "--", ".", f":!{RESULTS.as_posix()}"),
        cpu=_cpu() or here.model or platform.processor() or platform.machine(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        machine=platform.machine(),
        os=f"{platform.system()} {platform.release().split('-')[0]}",
        governor=_first_line(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
        load_average_1min=round(os.getloadavg()[0], 2),
        python=platform.python_version(),
        packages={name: metadata.version(name) for name in packages if name in installed},
        device=fitting.name if fitting else "",
        board=here.model,
        l4t=here.l4t,
        power_mode=here.power_mode,
        tensorrt=here.tensorrt,
        gpus=tuple(gpu.name for gpu in here.gpus),
    )


def record_path(folder: Path, where: Environment, software: str) -> Path:
    """<device>-<software>.json; software: a distribution in `where.packages`."""
    return folder / f"{slug(f'{where.cpu} {where.cores} cores {software} {where.packages[software]}')}.json"


def slug(text: str) -> str:
    """Lower-case words, digits and dots, joined by hyphens."""
    text = re.sub(r"\((r|tm)\)|\b(cpu|processor)\b", " ", text.lower())
    return re.sub(r"[^a-z0-9.]+", "-", text).strip("-")


def write_record(path: Path, kind: str, where: Environment, content: dict[str, Any]) -> None:
    """One JSON object; `kind` says what the content is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {"format": FORMAT, "kind": kind, "environment": asdict(where)} | content
    write_text(path, json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def warn_if_dirty(where: Environment) -> None:
    """Says on stderr why a record would not count."""
    if not where.clean_tree:
        print("not a clean commit: the record says so, and does not count", file=sys.stderr)


def _git(*args: str) -> str:
    try:
        done = subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _cpu() -> str:
    try:
        names = re.findall(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        names = []
    return names[0] if names else ""


def _first_line(path: Path) -> str:
    try:
        return path.read_text().splitlines()[0]
    except (OSError, IndexError):
        return "unknown"
