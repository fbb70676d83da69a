"""Sensors by the service of jetson-stats, whose Python module is `jtop`.

Fields by its reference (rnext.it/jetson_stats/reference/jtop.html) and its source at 4.x: `power` in mW, `temperature`
in °C with `online`, `gpu[…]["freq"]["cur"]` in kHz, `memory["RAM"]["used"]` in KiB.
"""

from importlib import import_module
from typing import Any

from colora.devices.errors import BackendError
from colora.devices.sensors import Reading
from colora.devices.tegrastats import OFF


class JtopSensors:
    """See `Sensors`. Raises: BackendError where the service does not answer."""

    name = "jtop"

    def __init__(self, interval_s: float) -> None:
        module: Any = import_module("jtop")
        self.missing: dict[str, str] = {}
        self._jtop: Any = module.jtop(interval=interval_s)
        try:
            self._jtop.start()
        except (module.JtopException, OSError) as e:
            raise BackendError(
                f"jtop does not answer: {e} (sudo systemctl restart jtop.service; your user must be in the group jtop)"
            ) from e
        if not self._jtop.power:
            self.missing["power"] = "jtop finds no power monitor on this board"

    def read(self) -> Reading:
        return reading(self._jtop)

    def close(self) -> None:
        self._jtop.close()


def reading(j: Any) -> Reading:
    """What an open jtop says now."""
    power, memory = j.power or {}, j.memory or {}
    rails = {rail: float(facts["power"]) for rail, facts in power.get("rail", {}).items()}
    if "power" in power.get("tot", {}):
        rails[power["tot"].get("name", "total")] = float(power["tot"]["power"])
    gpus = [gpu for gpu in (j.gpu or {}).values() if isinstance(gpu, dict)]
    clocks = [gpu["freq"]["cur"] / 1000 for gpu in gpus if gpu.get("freq", {}).get("cur") is not None]
    loads = [float(gpu["status"]["load"]) for gpu in gpus if gpu.get("status", {}).get("load") is not None]
    cores = [
        core["freq"]["cur"] / 1000 for core in (j.cpu or {}).get("cpu", []) if core.get("freq", {}).get("cur")
    ]
    emc = memory.get("EMC", {})
    used = memory.get("RAM", {}).get("used")
    return Reading(
        power_mw=rails,
        temperature_c={
            name.lower(): float(facts["temp"])
            for name, facts in (j.temperature or {}).items()
            if facts.get("online", True) and facts["temp"] > OFF
        },
        clock_mhz={
            **({"cpu": max(cores)} if cores else {}),
            **({"gpu": max(clocks)} if clocks else {}),
            **({"memory": emc["cur"] / 1000} if emc.get("cur") is not None else {}),
        },
        load_percent={"gpu": max(loads)} if loads else {},
        memory_used_bytes=None if used is None else int(used) * 1024,
    )
