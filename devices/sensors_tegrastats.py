"""Sensors by tegrastats, which writes a line at each interval (devices/tegrastats.py reads it)."""

import subprocess
from collections.abc import Sequence
from threading import Event, Thread

from colora.devices.errors import BackendError
from colora.devices.sensors import Reading
from colora.devices.tegrastats import Sample, parse_line

WAIT_S = 5.0
"""For the first line."""


class TegrastatsSensors:
    """See `Sensors`; `read` gives what the last line said. Raises: BackendError where no line comes."""

    name = "tegrastats"

    def __init__(self, command: Sequence[str], wait_s: float = WAIT_S) -> None:
        self.missing: dict[str, str] = {}
        self._sample: Sample | None = None
        self._last, self._came = "", Event()
        try:
            self._process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
            )
        except OSError as e:
            raise BackendError(f"{command[0]} can't be started: {e}") from e
        self._reader = Thread(target=self._follow, daemon=True)
        self._reader.start()
        self._came.wait(wait_s)
        if self._sample is None:
            self.close()
            raise BackendError(
                f"{command[0]} wrote no line of figures within {wait_s:g} s; the last thing it said: {self._last!r}"
            )
        self.missing.update(lacking(self._sample))

    def read(self) -> Reading:
        return reading(self._sample) if self._sample else Reading()

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
        self._process.wait()
        self._reader.join()

    def _follow(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._last = line.strip() or self._last
                sample = parse_line(line)
                if sample is not None:
                    self._sample = sample
                    self._came.set()
        self._came.set()


def reading(sample: Sample) -> Reading:
    """The figures of a line."""
    clocks = {"gpu": sample.gpu_mhz, "memory": sample.memory_mhz, "cpu": sample.cpu_mhz}
    loads = {"gpu": sample.gpu_percent, "memory": sample.memory_percent}
    return Reading(
        power_mw={rail: float(power) for rail, power in sample.power_mw.items()},
        temperature_c=sample.temperature_c,
        clock_mhz={name: float(clock) for name, clock in clocks.items() if clock is not None},
        load_percent={name: float(load) for name, load in loads.items() if load is not None},
        memory_used_bytes=sample.ram_used_mib * 2**20,
    )


def lacking(sample: Sample) -> dict[str, str]:
    """What a line does not show, and why."""
    found = {}
    if not sample.power_mw:
        found["power"] = (
            "tegrastats shows no rail here: run as root (sudo -E), or the board has no power monitor"
        )
    if sample.gpu_mhz is None:
        found["clock"] = "tegrastats shows no clock of the GPU: run as root (sudo -E)"
    return found
