"""Axes of plots: where a value lies, which values are named, and how numbers are written."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

STEPS = (1, 2, 5, 10)
PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
"""SI, for ticks."""


@dataclass(frozen=True)
class Axis:
    """Values from `low` to `high`, on a line from 0 to 1."""

    low: float
    high: float
    log: bool
    ticks: tuple[float, ...]

    def at(self, value: float) -> float:
        """0 at `low`, 1 at `high`."""
        low, high, value = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        return (value - low) / (high - low)


def make_axis(values: Iterable[float], log: bool = False, from_zero: bool = False) -> Axis:
    """An axis that shows all values, and begins and ends at a tick unless `log`.

    values: finite, at least one, above 0 for `log`. from_zero: show 0 whatever the values; without, a linear axis of
    positive values begins at 0 where they reach below half of the largest.
    """
    found = [*values]
    low, high = min(found), max(found)
    if log:
        return _log_axis(low, high)
    if from_zero or 0 <= low < high / 2:
        low, high = min(low, 0.0), max(high, 0.0)
    if high - low <= 1e-9 * max(abs(low), abs(high)):  # equal, as far as ticks can tell
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    step = _step((high - low) / 4)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(n * step for n in range(first, last + 1))
    return Axis(ticks[0], ticks[-1], False, ticks)


def _log_axis(low: float, high: float) -> Axis:
    """Ticks at the decades; where there are fewer than three, at 2 and 5 too; where that is one or none, as linear."""
    low, high = low / 1.15, high * 1.15
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 2, 5)):
        ticks = tuple(step * 10.0**n for n in decades for step in steps if low <= step * 10.0**n <= high)
        if len(ticks) >= 3:
            every = -(-len(ticks) // 7)
            return Axis(low, high, True, ticks[::every])
    step = _step((high - low) / 4)
    ticks = tuple(n * step for n in range(math.ceil(low / step), math.floor(high / step) + 1) if n)
    return Axis(low, high, True, ticks)


def _step(least: float) -> float:
    """1, 2 or 5 times a power of ten, not below `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(step * power for step in STEPS if step * power >= least * (1 - 1e-9))


def tick_label(value: float) -> str:
    """Short: 1500000 is 1.5M, 0.002 is 0.002."""
    for size, letter in PREFIXES:
        if abs(value) >= size and (size > 1e3 or abs(value) >= 1e4):
            return f"{value / size:.4g}{letter}"
    return f"{value:.4g}"


def written(value: str | float | int | None) -> str:
    """For tables: integers in full, thousands apart; other numbers to four digits; a dash for what was not measured."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) or (math.isfinite(value) and (abs(value) >= 1000 or value == 0)):
        return f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}").replace("-", "−")
    if not math.isfinite(value):
        return str(value).replace("inf", "∞").replace("-", "−")
    digits = max(0, 3 - math.floor(math.log10(abs(value))))
    text = f"{value:.{digits}f}" if digits < 8 else f"{value:.2e}"
    return text.replace("-", "−")
