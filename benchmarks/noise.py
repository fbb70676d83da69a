"""Whether a machine was quiet while something was timed, and how far its speed wandered.

The signs: a reference loop, always the same work on one core, that takes its turn among the calls; processor time that
others took meanwhile, and that a host took from this virtual machine (/proc/stat); clocks before and after; and the
kernel's own signs of throttling (devices/throttle.py). What a system does not tell is left out.
"""

import os
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from colora.benchmarks.timing import interleave
from colora.devices.throttle import Signs, grown, signs

REFERENCE = "reference loop"
SPREAD_LIMIT, DRIFT_LIMIT, OTHERS_LIMIT, STOLEN_LIMIT, CLOCK_LIMIT = 0.05, 0.02, 0.2, 0.02, 0.05
"""Above them a run is called noisy. A quiet desktop or board stays below all five."""
STAT = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")


@dataclass(frozen=True)
class Moment:
    """What the system says at one time."""

    seconds: float
    cores: int
    own_s: float
    """Processor time of this process and of its children that have ended."""
    busy_s: float | None
    """Of all processes; None where /proc/stat can't be read."""
    stolen_s: float
    clocks_mhz: tuple[float, ...]
    signs: Signs


@dataclass(frozen=True)
class Noise:
    """Of one run. Shares are of 1."""

    spread: float
    """Distance of the quartiles of the reference loop / its median."""
    pace_ms: tuple[float, ...]
    """Medians of the thirds of the reference loop, in order: what a median over the run does not average out."""
    others_cores: float | None
    """Cores that other processes kept busy, on average."""
    stolen: float
    """Share of the processor time of all cores that a host took."""
    clock_change: float | None
    """Of the fastest core, which is the one at work, as a share of its clock before."""
    load_average_1min: float
    """Now, own work included."""
    throttled: tuple[str, ...]

    @property
    def drift(self) -> float:
        """How far the medians of the thirds lie apart / their median."""
        return (max(self.pace_ms) - min(self.pace_ms)) / statistics.median(self.pace_ms)

    @property
    def flags(self) -> tuple[str, ...]:
        """What was noisy, in words; empty for a quiet machine."""
        told = (
            (self.spread > SPREAD_LIMIT, f"the reference loop's quartiles lie {self.spread:.0%} apart"),
            (self.drift > DRIFT_LIMIT, f"the machine's speed wandered by {self.drift:.0%} within the run"),
            ((self.others_cores or 0) > OTHERS_LIMIT, f"others kept {self.others_cores or 0:.1f} cores busy"),
            (self.stolen > STOLEN_LIMIT, f"the host took {self.stolen:.0%} of the processor time"),
            ((self.clock_change or 0) > CLOCK_LIMIT, f"a clock changed by {self.clock_change or 0:.0%}"),
        )
        return (*(text for noisy, text in told if noisy), *self.throttled)

    def sentence(self) -> str:
        """One line for a report."""
        if not self.flags:
            return "The machine was quiet: no sign of throttling, other work or wandering speed."
        return f"Noisy machine: {'; '.join(self.flags)}; intervals of times are widened by its pace."


def interleave_watched(
    calls: Mapping[str, Callable[[], object]],
    rounds: int,
    *,
    warmups: int = 3,
    pause_s: float = 0.05,
    between: Callable[[], object] = lambda: None,
    synchronize: Callable[[], object] = lambda: None,
) -> tuple[dict[str, list[float]], Noise]:
    """`interleave`, with the reference loop among the calls; the loop's times are in the result too."""
    loop = reference_loop()
    loop()  # so that the clock is that of work
    before = moment()
    times = interleave(
        {**calls, REFERENCE: loop},
        rounds,
        warmups=warmups,
        pause_s=pause_s,
        between=between,
        synchronize=synchronize,
    )
    loop()
    return times, noise(before, moment(), times[REFERENCE])


def reference_loop() -> Callable[[], object]:
    """Some milliseconds of work on one core, within its second-level cache."""
    import numpy as np

    values = np.linspace(1, 2, 2**15, dtype=np.float32)
    result = np.empty_like(values)

    def loop() -> None:
        for _ in range(200):
            np.sqrt(values, out=result)
            np.multiply(result, values, out=result)

    return loop


def moment(root: Path = Path("/")) -> Moment:
    """Now. root: of /proc and /sys."""
    own = os.times()
    busy, stolen = _processor_time(root)
    return Moment(
        seconds=time.monotonic(),
        cores=os.cpu_count() or 1,
        own_s=own.user + own.system + own.children_user + own.children_system,
        busy_s=busy,
        stolen_s=stolen,
        clocks_mhz=_clocks(root),
        signs=signs(root),
    )


def noise(before: Moment, after: Moment, reference_ms: Sequence[float]) -> Noise:
    """Of a run between two moments. reference_ms: of the reference loop, in order; one or more."""
    elapsed = max(after.seconds - before.seconds, 1e-9)
    others = None
    if before.busy_s is not None and after.busy_s is not None:
        used = after.busy_s - before.busy_s - (after.own_s - before.own_s)
        others = max(used / elapsed, 0.0)
    first, last = max(before.clocks_mhz, default=0.0), max(after.clocks_mhz, default=0.0)
    states = tuple(name for name, on in after.signs.states.items() if on)
    middle = statistics.median(reference_ms)
    p25, _, p75 = statistics.quantiles([*reference_ms] * 2, n=4, method="inclusive")  # which wants two values
    return Noise(
        spread=(p75 - p25) / middle,
        pace_ms=tuple(map(statistics.median, _thirds(reference_ms))),
        others_cores=others,
        stolen=max(after.stolen_s - before.stolen_s, 0.0) / elapsed / after.cores,
        clock_change=abs(last - first) / first if first and last else None,
        load_average_1min=os.getloadavg()[0],
        throttled=(*grown(before.signs, after.signs), *states),
    )


def _thirds(values: Sequence[float]) -> list[Sequence[float]]:
    ends = [0, len(values) // 3, 2 * len(values) // 3, len(values)]
    return [values[a:b] for a, b in pairwise(ends) if b > a]


def _processor_time(root: Path) -> tuple[float | None, float]:
    """Seconds, summed over all cores: busy, and stolen by a host."""
    try:
        first = (root / "proc/stat").read_text().split("\n", 1)[0].split()
        counts = dict(zip(STAT, map(int, first[1:]), strict=False))
    except (OSError, ValueError):
        return None, 0.0
    if first[:1] != ["cpu"] or "softirq" not in counts:
        return None, 0.0
    tick = os.sysconf("SC_CLK_TCK")
    busy = sum(counts[name] for name in ("user", "nice", "system", "irq", "softirq"))
    return busy / tick, counts.get("steal", 0) / tick


def _clocks(root: Path) -> tuple[float, ...]:
    """MHz of each core, as far as told."""
    files = sorted(root.glob("sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq"))
    try:
        if files:
            return tuple(int(file.read_text()) / 1e3 for file in files)
        text = (root / "proc/cpuinfo").read_text()
    except (OSError, ValueError):
        return ()
    return tuple(float(mhz) for mhz in re.findall(r"^cpu MHz\s*:\s*([\d.]+)$", text, re.MULTILINE))
