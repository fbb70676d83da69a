"""Sensors by the files of Linux, on a workstation as on a Jetson.

Places, by the kernel's documentation (admin-guide, driver-api/thermal, hwmon/sysfs-interface, power/powercap):
- temperatures: /sys/class/thermal/thermal_zone*/{type,temp}, in m°C;
- power: /sys/class/hwmon/hwmon*/ of INA3221 monitors, rails of a Jetson since JetPack 5 (in*_label, in*_input in mV,
  curr*_input in mA); /sys/class/powercap/intel-rapl:*/energy_uj, which only root may read since Linux 5.10
  (CVE-2020-8694), so power is energy between two readings;
- clocks: /sys/devices/system/cpu/cpu*/cpufreq/scaling_cur_freq in kHz; /sys/class/devfreq/*/cur_freq in Hz;
- memory: /proc/meminfo.
"""

import re
import time
from pathlib import Path

from colora.devices.sensors import Reading
from colora.devices.tegrastats import OFF

MONITORS = "ina3"
"""First letters of the power monitors' names."""
GPU = re.compile(r"gpu|ga10b|gv11b|gp10b|gb10b")
"""Names of a Jetson's GPU among the devices whose clock the kernel sets: GPUs of Nano to Thor."""


class LinuxSensors:
    """See `Sensors`. root: of the file system."""

    name = "linux"

    def __init__(self, root: Path = Path("/")) -> None:
        self.missing: dict[str, str] = {}
        self._root = root
        self._energy: dict[str, tuple[float, int]] = {}
        first = self.read()  # energy counters have a first value from here on
        for quantity, found, where in (
            ("temperature", first.temperature_c, "sys/class/thermal"),
            ("clock", first.clock_mhz, "sys/devices/system/cpu/cpu*/cpufreq"),
        ):
            if not found:
                self.missing.setdefault(
                    quantity, f"nothing under /{where} (a virtual machine has no such sensor)"
                )
        if not first.power_mw and not self._energy:
            self.missing.setdefault("power", "no power monitor under /sys/class/hwmon or /sys/class/powercap")

    def read(self) -> Reading:
        return Reading(
            power_mw=self._rails() | self._packages(),
            temperature_c=self._temperatures(),
            clock_mhz=self._clocks(),
            memory_used_bytes=self._memory(),
        )

    def close(self) -> None:
        pass

    def _text(self, path: Path, quantity: str) -> str:
        """Content without its end of line; empty where it can't be read, which `missing` then explains."""
        try:
            return path.read_text("utf-8", errors="replace").strip()
        except PermissionError:
            self.missing[quantity] = f"no permission to read {path}: run as root, or sudo chmod a+r {path}"
        except OSError:  # a sensor of a unit without power answers so
            pass
        return ""

    def _number(self, path: Path, quantity: str) -> int | None:
        text = self._text(path, quantity)
        return int(text) if re.fullmatch(r"-?\d+", text) else None

    def _temperatures(self) -> dict[str, float]:
        found = {}
        for zone in sorted(self._root.glob("sys/class/thermal/thermal_zone*")):
            value = self._number(zone / "temp", "temperature")
            if value is not None and value / 1000 > OFF:
                name = self._text(zone / "type", "temperature").lower().removesuffix("-thermal")
                found[name or zone.name] = value / 1000
        return found

    def _rails(self) -> dict[str, float]:
        found = {}
        for monitor in sorted(self._root.glob("sys/class/hwmon/hwmon*")):
            if not self._text(monitor / "name", "power").startswith(MONITORS):
                continue
            for label in sorted(monitor.glob("in*_label")):
                number = label.name[2:].partition("_")[0]
                millivolts = self._number(monitor / f"in{number}_input", "power")
                milliamperes = self._number(monitor / f"curr{number}_input", "power")
                if millivolts is not None and milliamperes is not None:
                    found[self._text(label, "power")] = millivolts * milliamperes / 1000
        return found

    def _packages(self) -> dict[str, float]:
        """Mean power since the reading before; counters that were wound back are left out once."""
        found = {}
        for zone in sorted(self._root.glob("sys/class/powercap/intel-rapl:*")):
            energy, now = self._number(zone / "energy_uj", "power"), time.monotonic()
            if energy is None:
                continue
            name = f"{self._text(zone / 'name', 'power')} {zone.name.partition(':')[2]}"
            before = self._energy.get(name)
            self._energy[name] = (now, energy)
            if before and now > before[0] and energy >= before[1]:
                found[name] = (energy - before[1]) / 1000 / (now - before[0])
        return found

    def _clocks(self) -> dict[str, float]:
        cores = [
            self._number(path, "clock")
            for path in self._root.glob("sys/devices/system/cpu/cpu*/cpufreq/scaling_cur_freq")
        ]
        found = {"cpu": max(known) / 1000} if (known := [c for c in cores if c is not None]) else {}
        for device in self._root.glob("sys/class/devfreq/*"):
            clock = self._number(device / "cur_freq", "clock") if GPU.search(device.name) else None
            if clock is not None:
                found["gpu"] = max(found.get("gpu", 0.0), clock / 1e6)
        return found

    def _memory(self) -> int | None:
        text = self._text(self._root / "proc/meminfo", "memory")
        kib = {name: int(value) for name, value in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}
        if "MemTotal" not in kib or "MemAvailable" not in kib:
            return None
        return 1024 * (kib["MemTotal"] - kib["MemAvailable"])
