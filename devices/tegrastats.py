"""Lines of `tegrastats`, NVIDIA's monitor on Jetson, as every JetPack from 4 to 7 writes them.

Format: NVIDIA's L4T documentation, "tegrastats Utility" (archives/l4t-archived/l4t-325, AppendixTegraStats, for
JetPack 4; the Jetson Linux developer guides r35 and r36 for 5 and 6). What differs:

- power: JetPack 4 `VDD_IN 900/943`; 5 and 6 `VDD_IN 900mW/943mW`; 7 three figures. Now, mean (, peak).
- GPU: `GR3D_FREQ 12%@921`, from 5 on `12%@[611]` or a clock for each cluster, without root `12%`; Thor shows
  clocks only, `@[1000,1000,1000]`.
- temperature: `CPU@40.5C`, from 6 on in lower case, in 7 `cpu@40.5C/40.5C`.
- date: none in JetPack 4, then `MM-DD-YYYY HH:MM:SS`.

Figures that a line lacks are None: without root, GPU and memory clocks and some rails are not shown.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

OFF = -256.0
"""Degrees that a sensor of a unit without power reports."""
INPUTS = ("VDD_IN", "POM_5V_IN", "VIN")
"""Rails that feed the whole module; VIN is Thor's. AGX Xavier and Orin have none: their rails are parts of it."""

RAM = re.compile(r"\bRAM (\d+)/(\d+)MB")
POWER = re.compile(r"\b([A-Z][A-Z0-9_]*) (\d+)(?:mW)?/(\d+)(?:mW)?(?:/\d+mW)?(?=\s|$)")
TEMPERATURE = re.compile(r"(?:^|\s)(\w+)@(-?\d+(?:\.\d+)?)C\b")
UNIT = r"\b{} (?:(\d+)%)?(?:@\[?([\d,]+)\]?)?"
CPU = re.compile(r"\bCPU \[([^\]]*)\]")
DATE = re.compile(r"^(\d\d-\d\d-\d\d\d\d \d\d:\d\d:\d\d)\b")


@dataclass(frozen=True)
class Sample:
    """One line. Power in mW, temperatures in °C, clocks in MHz, memory in MiB, loads in percent."""

    ram_used_mib: int
    ram_total_mib: int
    power_mw: Mapping[str, int]
    """Rail → what it takes now."""
    average_power_mw: Mapping[str, int]
    """Rail → mean since tegrastats was started."""
    temperature_c: Mapping[str, float]
    """Sensor in lower case → reading; sensors of units without power are left out."""
    gpu_percent: int | None = None
    gpu_mhz: int | None = None
    """Of the fastest cluster."""
    memory_percent: int | None = None
    """Of the external memory controller's bandwidth at its clock."""
    memory_mhz: int | None = None
    cpu_percent: tuple[int | None, ...] = ()
    """Of each core; None for one that is off."""
    cpu_mhz: int | None = None
    """Of the fastest core."""
    time: datetime | None = None
    """Local, as written; JetPack 4 writes none."""

    @property
    def input_mw(self) -> int | None:
        """What the module takes in all; None where no rail says (AGX)."""
        return next((self.power_mw[rail] for rail in INPUTS if rail in self.power_mw), None)


def parse_line(line: str) -> Sample | None:
    """A line of tegrastats; None for anything else (headers, errors, a line that was cut off before its memory)."""
    ram = RAM.search(line)
    if not ram:
        return None
    rails = [m for m in POWER.finditer(line) if m[1] not in ("RAM", "SWAP", "IRAM")]
    gpu_percent, gpu_mhz = _unit("GR3D_FREQ", line)
    memory_percent, memory_mhz = _unit("EMC_FREQ", line)
    cores = CPU.search(line)
    clocks = [int(clock) for clock in re.findall(r"%@(\d+)", cores[1])] if cores else []
    date = DATE.match(line)
    return Sample(
        ram_used_mib=int(ram[1]),
        ram_total_mib=int(ram[2]),
        power_mw={m[1]: int(m[2]) for m in rails},
        average_power_mw={m[1]: int(m[3]) for m in rails},
        temperature_c={m[1].lower(): float(m[2]) for m in TEMPERATURE.finditer(line) if float(m[2]) > OFF},
        gpu_percent=gpu_percent,
        gpu_mhz=gpu_mhz,
        memory_percent=memory_percent,
        memory_mhz=memory_mhz,
        cpu_percent=tuple(map(_load, cores[1].split(","))) if cores else (),
        cpu_mhz=max(clocks, default=None),
        time=datetime.strptime(date[1], "%m-%d-%Y %H:%M:%S") if date else None,
    )


def parse_log(lines: Iterable[str]) -> Iterator[Sample]:
    """Samples of a log, in order; lines that are none are passed over."""
    return (sample for sample in map(parse_line, lines) if sample is not None)


def _unit(name: str, line: str) -> tuple[int | None, int | None]:
    """Load in percent and clock in MHz of a unit, e.g. `GR3D_FREQ 12%@[1300,1300]`."""
    found = re.search(UNIT.format(name), line)
    if not found:
        return None, None
    clocks = [int(clock) for clock in (found[2] or "").split(",") if clock]
    return int(found[1]) if found[1] else None, max(clocks, default=None)


def _load(core: str) -> int | None:
    found = re.match(r"\s*(\d+)%", core)
    return int(found[1]) if found else None
