"""Sensors of a desktop or data-centre GPU by NVIDIA's management library, beside the files of Linux.

Functions, units and bits: NVML API reference, "Device Queries" and "NvmlClocksEventReasons" (power in mW, clocks in
MHz, utilization.memory: share of the time in which memory was read or written), by the package nvidia-ml-py 12 to 13.
Jetsons have an NVML of which most answers are "not supported": there jtop and tegrastats tell.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from colora.devices.errors import BackendError
from colora.devices.sensors import Reading
from colora.devices.sensors_linux import LinuxSensors

SLOWING = {
    0x04: "its power limit",
    0x08: "a slowdown by hardware",
    0x20: "heat, by the driver",
    0x40: "heat, by hardware",
    0x80: "its supply's power brake",
}
"""Bits of the reasons why a clock is below the highest → what each means; idle and chosen clocks are none."""


class NvmlSensors:
    """See `Sensors`: what Linux tells, and of each GPU. Raises: BackendError where the library does not answer."""

    name = "nvml"

    def __init__(self, linux: LinuxSensors) -> None:
        self.missing = linux.missing
        self._linux = linux
        self._nvml: Any = import_module("pynvml")
        try:
            self._nvml.nvmlInit()
            count = self._nvml.nvmlDeviceGetCount()
            handles = [self._nvml.nvmlDeviceGetHandleByIndex(i) for i in range(count)]
        except self._nvml.NVMLError as e:
            raise BackendError(f"NVML does not answer: {e}: is the NVIDIA driver loaded (nvidia-smi)?") from e
        self._gpus = {f"gpu {i}" if count > 1 else "gpu": handle for i, handle in enumerate(handles)}
        self._open = True

    def read(self) -> Reading:
        ask, n = self._ask, self._nvml
        rest = self._linux.read()
        power = ask("power", n.nvmlDeviceGetPowerUsage)
        heat = ask("temperature", lambda gpu: n.nvmlDeviceGetTemperature(gpu, n.NVML_TEMPERATURE_GPU))
        clock = ask("clock", lambda gpu: n.nvmlDeviceGetClockInfo(gpu, n.NVML_CLOCK_GRAPHICS))
        memory = ask("memory clock", lambda gpu: n.nvmlDeviceGetClockInfo(gpu, n.NVML_CLOCK_MEM))
        used = ask("load", n.nvmlDeviceGetUtilizationRates)
        why = ask("throttle", n.nvmlDeviceGetCurrentClocksThrottleReasons)
        return Reading(
            power_mw={**rest.power_mw, **power},
            temperature_c={**rest.temperature_c, **heat},
            clock_mhz={**rest.clock_mhz, **clock, **{f"{gpu} memory": mhz for gpu, mhz in memory.items()}},
            load_percent={
                **{gpu: rates.gpu for gpu, rates in used.items()},
                **{f"{gpu} memory": rates.memory for gpu, rates in used.items()},
            },
            memory_used_bytes=rest.memory_used_bytes,
            slowed={
                f"{gpu} slowed by {told}": bool(bits & bit)
                for gpu, bits in why.items()
                for bit, told in SLOWING.items()
            },
        )

    def close(self) -> None:
        if self._open:
            self._open = False
            self._nvml.nvmlShutdown()

    def _ask(self, quantity: str, of: Callable[[Any], Any]) -> dict[str, Any]:
        """GPU → what it answers; `missing` explains those that don't."""
        found = {}
        for gpu, handle in self._gpus.items():
            try:
                found[gpu] = of(handle)
            except self._nvml.NVMLError as e:
                self.missing[f"{gpu} {quantity}"] = f"NVML says: {e}"
        return found
