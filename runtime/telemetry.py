"""What the sensors of a machine say while something runs, and whether it was slowed down meanwhile."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean
from threading import Event, Thread
from types import TracebackType

from colora.devices.sensors import Reading, Sensors
from colora.devices.throttle import Signs, grown, signs


@dataclass(frozen=True)
class Spread:
    """Of one figure over all readings."""

    least: float
    mean: float
    most: float


@dataclass(frozen=True)
class Telemetry:
    """Of one run. Names as in `Reading`."""

    source: str
    seconds: float
    readings: int
    power_mw: Mapping[str, Spread]
    temperature_c: Mapping[str, Spread]
    clock_mhz: Mapping[str, Spread]
    load_percent: Mapping[str, Spread]
    memory_used_bytes: Spread | None
    throttled: bool | None
    """Whether the machine was slowed down by heat or current; None where it can't tell."""
    throttle_reasons: tuple[str, ...]
    missing: Mapping[str, str]
    """What could not be read → why, and what would help."""


class Recorder:
    """Reads the sensors in a thread of its own from `with` to its end, closes them, and holds the `Telemetry`.

    A sensor that fails while it is read ends the readings and not the run: `missing` tells.
    """

    def __init__(self, sensors: Sensors, interval_s: float = 0.5, look: Callable[[], Signs] = signs) -> None:
        self.telemetry: Telemetry | None = None
        self._sensors, self._interval_s, self._look = sensors, interval_s, look
        self._readings: list[Reading] = []
        self._reasons: dict[str, None] = {}
        self._stop = Event()
        self._thread = Thread(target=self._follow, daemon=True)

    def __enter__(self) -> "Recorder":
        self._before, self._began = self._look(), time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        seconds = time.monotonic() - self._began
        self._read()  # at least one, at the end
        after = self._look()
        self._sensors.close()
        reasons = (*self._reasons, *grown(self._before, after))
        told = self._before.told or any(r.slowed for r in self._readings)
        if not told:
            self._sensors.missing.setdefault(
                "throttle", "this machine shows no counter, cooling device or trip point to tell it by"
            )
        used = [float(r.memory_used_bytes) for r in self._readings if r.memory_used_bytes is not None]
        self.telemetry = Telemetry(
            source=self._sensors.name,
            seconds=seconds,
            readings=len(self._readings),
            power_mw=_spreads(r.power_mw for r in self._readings),
            temperature_c=_spreads(r.temperature_c for r in self._readings),
            clock_mhz=_spreads(r.clock_mhz for r in self._readings),
            load_percent=_spreads(r.load_percent for r in self._readings),
            memory_used_bytes=_spread(used) if used else None,
            throttled=bool(reasons) if told else None,
            throttle_reasons=reasons,
            missing=dict(self._sensors.missing),
        )

    def _follow(self) -> None:
        while not self._stop.wait(self._interval_s):
            if not self._read():
                return

    def _read(self) -> bool:
        try:
            reading = self._sensors.read()
        except Exception as e:  # a service that went away: whatever its package raises
            self._sensors.missing[self._sensors.name] = f"ended while it was read: {type(e).__name__}: {e}"
            return False
        self._readings.append(reading)
        states = {**self._look().states, **reading.slowed}
        self._reasons.update(dict.fromkeys(name for name, on in states.items() if on))
        return True


def _spreads(readings: Iterable[Mapping[str, float]]) -> dict[str, Spread]:
    found: dict[str, list[float]] = {}
    for reading in readings:
        for name, value in reading.items():
            found.setdefault(name, []).append(value)
    return {name: _spread(values) for name, values in found.items()}


def _spread(values: list[float]) -> Spread:
    return Spread(min(values), fmean(values), max(values))
