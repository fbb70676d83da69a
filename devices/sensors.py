"""What a machine says of itself while it works: power, temperatures, clocks, memory.

Four sources give the same `Reading`: the service of jetson-stats (`jtop`), NVIDIA's `tegrastats`, the files that Linux
keeps on any machine, and with them what the driver of a desktop GPU tells (`nvml`). What a source lacks, or what this
user may not read, is left out and told by `missing`.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from colora.devices.errors import BackendError, ColoraError, missing_extra, unknown

SOURCES = ("auto", "jtop", "tegrastats", "nvml", "linux", "none")
"""`auto`: on a Jetson the first of jtop, tegrastats and linux that answers; elsewhere nvml beside NVIDIA's driver, else
linux."""
DRIVER = "proc/driver/nvidia"
"""What the driver of a desktop GPU shows, in containers too."""


@dataclass(frozen=True)
class Reading:
    """Of one moment; what is not known is left out."""

    power_mw: Mapping[str, float] = field(default_factory=dict)
    """Rail or package → what it takes."""
    temperature_c: Mapping[str, float] = field(default_factory=dict)
    """Sensor in lower case → reading."""
    clock_mhz: Mapping[str, float] = field(default_factory=dict)
    """`cpu` (its fastest core), `gpu`, `memory`."""
    load_percent: Mapping[str, float] = field(default_factory=dict)
    """`gpu`; `memory`: of its bandwidth."""
    memory_used_bytes: int | None = None
    """Of the whole system; a Jetson's GPU takes from the same."""
    slowed: Mapping[str, bool] = field(default_factory=dict)
    """What slows the machine down, in words → whether it does now; beside devices/throttle.py, which reads files."""


class Sensors(Protocol):
    """An open source of readings."""

    name: str
    missing: dict[str, str]
    """What it can't tell → why, and what would help."""

    def read(self) -> Reading:
        """The present state. Raises: nothing; what can't be read is left out."""
        ...

    def close(self) -> None:
        """Stop what was started. Harmless when repeated."""
        ...


class NoSensors:
    """Tells nothing."""

    name = "none"

    def __init__(self) -> None:
        self.missing: dict[str, str] = {}

    def read(self) -> Reading:
        return Reading()

    def close(self) -> None:
        pass


def open_sensors(name: str = "auto", interval_s: float = 0.5, root: Path = Path("/")) -> Sensors:
    """Open a source by its name in SOURCES. interval_s: between readings. root: of the file system, for tests.

    Raises: UnknownName; MissingExtra and BackendError if the source that was asked for does not answer.
    """
    if name not in SOURCES:
        raise unknown("source of telemetry", name, SOURCES)
    if name != "auto":
        return _open(name, interval_s, root)
    refused = {}
    jetson = (root / "etc/nv_tegra_release").exists()
    desktop = ("nvml",) if (root / DRIVER).exists() else ()
    for candidate in ("jtop", "tegrastats") if jetson else desktop:
        try:
            return _open(candidate, interval_s, root)
        except ColoraError as e:
            refused[candidate] = str(e)
    found = _open("linux", interval_s, root)
    found.missing.update(refused)
    return found


def _open(name: str, interval_s: float, root: Path) -> Sensors:
    from colora.devices.sensors_linux import LinuxSensors

    if name == "jtop":
        return _open_jtop(interval_s)
    if name == "tegrastats":
        return _open_tegrastats(interval_s)
    if name == "nvml":
        return _open_nvml(root)
    return LinuxSensors(root) if name == "linux" else NoSensors()


def _open_jtop(interval_s: float) -> Sensors:
    from importlib.util import find_spec

    from colora.devices.sensors_jtop import JtopSensors

    if find_spec("jtop") is None:
        raise missing_extra("jetson-stats", "jetson", "telemetry by jtop")
    return JtopSensors(interval_s)


def _open_tegrastats(interval_s: float) -> Sensors:
    from colora.devices.sensors_tegrastats import TegrastatsSensors

    program = shutil.which("tegrastats")
    if program is None:
        raise BackendError("tegrastats is not on the PATH: it comes with Jetson Linux (/usr/bin/tegrastats)")
    return TegrastatsSensors((program, "--interval", str(max(1, round(interval_s * 1000)))))


def _open_nvml(root: Path) -> Sensors:
    from importlib.util import find_spec

    from colora.devices.sensors_linux import LinuxSensors
    from colora.devices.sensors_nvml import NvmlSensors

    if find_spec("pynvml") is None:
        raise missing_extra("nvidia-ml-py", "jetson", "telemetry by nvml")
    return NvmlSensors(LinuxSensors(root))
