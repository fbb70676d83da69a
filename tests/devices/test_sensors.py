"""The four sources give the same reading, and tell what they lack."""

from __future__ import annotations

import importlib.machinery
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from colora.devices.errors import BackendError, MissingExtra, UnknownName
from colora.devices.sensors import open_sensors
from colora.devices.sensors_jtop import JtopSensors
from colora.devices.sensors_linux import LinuxSensors
from colora.devices.sensors_nvml import NvmlSensors
from colora.devices.sensors_tegrastats import TegrastatsSensors

LINE = (
    "RAM 2147/7620MB (lfb 2x4MB) SWAP 0/3810MB (cached 0MB) CPU [5%@1728,0%@729] EMC_FREQ 12%@2133 "
    "GR3D_FREQ 88%@[1007] cpu@49.687C tj@50.625C VDD_IN 14556mW/9556mW"
)
FILES = {
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "49687\n",
    "sys/class/thermal/thermal_zone1/type": "cv0-thermal\n",
    "sys/class/thermal/thermal_zone1/temp": "-256000\n",  # a unit without power
    "sys/class/hwmon/hwmon1/name": "ina3221\n",
    "sys/class/hwmon/hwmon1/in1_label": "VDD_IN\n",
    "sys/class/hwmon/hwmon1/in1_input": "5000\n",
    "sys/class/hwmon/hwmon1/curr1_input": "1200\n",
    "sys/class/hwmon/hwmon2/name": "nvme\n",
    "sys/class/hwmon/hwmon2/in1_label": "not a rail\n",
    "sys/class/devfreq/17000000.gpu/cur_freq": "1007250000\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1728000\n",
    "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": "729600\n",
    "proc/meminfo": "MemTotal:  1000 kB\nMemFree:  10 kB\nMemAvailable:  400 kB\n",
}


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_linux_is_read(tmp_path: Path) -> None:
    sensors = LinuxSensors(write(tmp_path, FILES))
    reading = sensors.read()
    assert reading.power_mw == {"VDD_IN": 6000}
    assert reading.temperature_c == {"cpu": 49.687}
    assert reading.clock_mhz == {"cpu": 1728, "gpu": 1007.25}
    assert reading.memory_used_bytes == 600 * 1024
    assert sensors.missing == {}


def test_energy_becomes_power(tmp_path: Path) -> None:
    package = "sys/class/powercap/intel-rapl:0"
    write(tmp_path, {f"{package}/name": "package-0\n", f"{package}/energy_uj": "1000000\n"})
    sensors = LinuxSensors(tmp_path)
    (tmp_path / package / "energy_uj").write_text("3000000\n")
    power = sensors.read().power_mw["package-0 0"]
    assert power > 0  # 2 J in however long that took
    (tmp_path / package / "energy_uj").write_text("5\n")  # wound back
    assert sensors.read().power_mw == {}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_told_by_mode(tmp_path: Path) -> None:
    path = write(tmp_path, {"sys/class/powercap/intel-rapl:0/energy_uj": "1"}) / "sys/class/powercap"
    (path / "intel-rapl:0/energy_uj").chmod(0)
    assert "no permission to read" in LinuxSensors(tmp_path).missing["power"]


def test_what_may_not_be_read_is_told_and_the_rest_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {**FILES, "sys/class/powercap/intel-rapl:0/energy_uj": "1"})
    read = Path.read_text

    def guarded(self: Path, *args: Any, **named: Any) -> str:
        if self.name == "energy_uj":
            raise PermissionError(13, "Permission denied")
        return read(self, *args, **named)

    monkeypatch.setattr(Path, "read_text", guarded)
    sensors = LinuxSensors(tmp_path)
    assert sensors.read().temperature_c == {"cpu": 49.687}
    told = sensors.missing["power"]
    assert told.startswith("no permission to read") and "run as root, or sudo chmod a+r" in told


def test_a_machine_without_sensors_says_so(tmp_path: Path) -> None:
    sensors = LinuxSensors(tmp_path)
    assert set(sensors.missing) == {"temperature", "clock", "power"}
    assert sensors.read().memory_used_bytes is None


def test_tegrastats_is_followed() -> None:
    code = f"import time; print('header'); print({LINE!r}, flush=True); time.sleep(60)"
    sensors = TegrastatsSensors((sys.executable, "-c", code))
    try:
        reading = sensors.read()
        assert reading.power_mw == {"VDD_IN": 14556}
        assert reading.temperature_c == {"cpu": 49.687, "tj": 50.625}
        assert reading.clock_mhz == {"gpu": 1007, "memory": 2133, "cpu": 1728}
        assert reading.load_percent == {"gpu": 88, "memory": 12}
        assert reading.memory_used_bytes == 2147 * 2**20
        assert sensors.missing == {}
    finally:
        sensors.close()
        sensors.close()


def test_tegrastats_without_root_tells_what_it_hides() -> None:
    line = "RAM 2147/7620MB (lfb 2x4MB) CPU [5%@1728] GR3D_FREQ 88% cpu@49C"
    sensors = TegrastatsSensors((sys.executable, "-c", f"print({line!r})"))
    sensors.close()
    assert sensors.read().load_percent == {"gpu": 88}
    assert "run as root" in sensors.missing["power"] and "run as root" in sensors.missing["clock"]


def test_tegrastats_that_says_nothing_is_refused() -> None:
    with pytest.raises(BackendError, match=r"wrote no line of figures.*'permission denied'"):
        TegrastatsSensors((sys.executable, "-c", "print('permission denied')"))
    with pytest.raises(BackendError, match="can't be started"):
        TegrastatsSensors(("/nowhere/tegrastats",))


class Failure(Exception):
    """As jtop's."""


class Jtop:
    """A double of jetson-stats 4.3's class, with fields as its reference shows them for an Orin."""

    def __init__(self, interval: float) -> None:
        self.power = {
            "rail": {"VDD_SOC": {"volt": 5000, "curr": 300, "power": 1500, "avg": 1500}},
            "tot": {"power": 6000, "avg": 5900, "name": "VDD_IN"},
        }
        self.temperature = {
            "CPU": {"temp": 49.5, "online": True},
            "cv0": {"temp": -256, "online": False},
        }
        self.gpu = {"ga10b": {"status": {"load": 88.0}, "freq": {"cur": 1007250}}}
        self.cpu = {"cpu": [{"online": True, "freq": {"cur": 1728000}}, {"online": False}]}
        self.memory = {"RAM": {"tot": 7802880, "used": 2000}, "EMC": {"cur": 2133000}}

    def start(self) -> None:
        pass

    def close(self) -> None:
        pass


def test_jtop_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jtop", SimpleNamespace(jtop=Jtop, JtopException=Failure))
    sensors = JtopSensors(0.5)
    reading = sensors.read()
    sensors.close()
    assert reading.power_mw == {"VDD_SOC": 1500, "VDD_IN": 6000}
    assert reading.temperature_c == {"cpu": 49.5}
    assert reading.clock_mhz == {"cpu": 1728, "gpu": 1007.25, "memory": 2133}
    assert (reading.load_percent, reading.memory_used_bytes) == ({"gpu": 88}, 2000 * 1024)


def test_a_silent_jtop_is_refused_with_what_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent(Jtop):
        def start(self) -> None:
            raise Failure("I can't access to server, check group")

    monkeypatch.setitem(sys.modules, "jtop", SimpleNamespace(jtop=Silent, JtopException=Failure))
    with pytest.raises(BackendError, match=r"check group \(sudo systemctl restart jtop\.service"):
        JtopSensors(0.5)


class Refused(Exception):
    """As pynvml's NVMLError."""


def nvml(reasons: int = 0x01, count: int = 1, refuse: str = "") -> SimpleNamespace:
    """A double of pynvml on a machine with GeForce cards; `refuse` is a function that this user may not call."""
    answers: dict[str, Any] = {
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: count,
        "nvmlDeviceGetHandleByIndex": lambda i: i,
        "nvmlDeviceGetPowerUsage": lambda i: 285_000 + i,
        "nvmlDeviceGetTemperature": lambda i, sensor: (71, 0)[sensor],
        "nvmlDeviceGetClockInfo": lambda i, kind: {0: 1695, 2: 9751}[kind],
        "nvmlDeviceGetUtilizationRates": lambda i: SimpleNamespace(gpu=97, memory=41),
        "nvmlDeviceGetCurrentClocksThrottleReasons": lambda i: reasons,
    }
    if refuse:

        def refused(*_: Any) -> None:
            raise Refused("Insufficient Permissions")

        answers[refuse] = refused
    numbers = {"NVML_TEMPERATURE_GPU": 0, "NVML_CLOCK_GRAPHICS": 0, "NVML_CLOCK_MEM": 2}
    return SimpleNamespace(NVMLError=Refused, **numbers, **answers)


def test_a_desktop_gpu_is_read_beside_linux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml())
    sensors = NvmlSensors(LinuxSensors(write(tmp_path, FILES)))
    reading = sensors.read()
    sensors.close()
    sensors.close()
    assert reading.power_mw == {"VDD_IN": 6000, "gpu": 285_000}
    assert reading.temperature_c == {"cpu": 49.687, "gpu": 71}
    assert reading.clock_mhz == {"cpu": 1728, "gpu": 1695, "gpu memory": 9751}
    assert reading.load_percent == {"gpu": 97, "gpu memory": 41}
    assert reading.slowed and not any(reading.slowed.values())  # idle is no slowdown
    assert sensors.missing == {}


def test_each_gpu_is_read_and_why_it_is_slowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml(reasons=0x01 | 0x04 | 0x40, count=2))
    reading = NvmlSensors(LinuxSensors(tmp_path)).read()
    assert reading.power_mw == {"gpu 0": 285_000, "gpu 1": 285_001}
    assert [why for why, on in reading.slowed.items() if on] == [
        "gpu 0 slowed by its power limit",
        "gpu 0 slowed by heat, by hardware",
        "gpu 1 slowed by its power limit",
        "gpu 1 slowed by heat, by hardware",
    ]


def test_what_a_driver_does_not_tell_is_said_and_the_rest_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml(refuse="nvmlDeviceGetPowerUsage"))
    sensors = NvmlSensors(LinuxSensors(tmp_path))
    reading = sensors.read()
    assert (reading.power_mw, reading.clock_mhz["gpu"]) == ({}, 1695)
    assert sensors.missing["gpu power"] == "NVML says: Insufficient Permissions"


def test_nvml_is_taken_beside_its_driver_and_linux_where_it_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.machinery.ModuleSpec("pynvml", None)
    module = nvml()
    module.__spec__ = spec
    monkeypatch.setitem(sys.modules, "pynvml", module)
    assert open_sensors(root=tmp_path).name == "linux"
    (tmp_path / "proc/driver/nvidia").mkdir(parents=True)
    assert open_sensors(root=tmp_path).name == "nvml"
    silent = nvml(refuse="nvmlInit")
    silent.__spec__ = spec
    monkeypatch.setitem(sys.modules, "pynvml", silent)
    sensors = open_sensors(root=tmp_path)
    assert sensors.name == "linux"
    assert sensors.missing["nvml"].startswith(
        "NVML does not answer: Insufficient Permissions: is the NVIDIA driver"
    )


def test_the_source_is_chosen_and_what_was_passed_over_told(tmp_path: Path) -> None:
    assert open_sensors("none").read().power_mw == {}
    write(tmp_path, {**FILES, "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3"})
    sensors = open_sensors(root=tmp_path)
    assert sensors.name == "linux"
    assert "pip install 'colora[jetson]'" in sensors.missing["jtop"]
    assert "comes with Jetson Linux" in sensors.missing["tegrastats"]
    with pytest.raises(MissingExtra, match="telemetry by jtop needs the package 'jetson-stats'"):
        open_sensors("jtop")
    with pytest.raises(UnknownName, match="unknown source of telemetry 'jtob': did you mean jtop"):
        open_sensors("jtob")
