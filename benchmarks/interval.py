"""How sure a median is, or a ratio: bootstrap intervals (Efron, 1979) of paired rounds.

The percentile method is too narrow for few rounds: of eight, √2 times its width held an equal run's median 87 to 90
times of 100 where 95 were stated, and less often where rounds that follow each other are alike. So it is expanded by
Student's t (Hesterberg, What Teachers Should Know About the Bootstrap, 2015), and the rounds count for less by their
correlation. tests/benchmarks/test_interval.py holds it to what it states.

An interval of confidence 0.95 holds the true median about 95 times of 100. The median of an equal run has an error of
its own, so it falls into that interval less often; `of_a_repeat` is √2 times as wide (the difference of two medians has
the sum of their variances), and that is the one that a second run is held to.
What resampling can't see is a machine that is slower for a whole run: `widened` takes that from the reference loop of
noise.py, by `error_of_one`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist, fmean, stdev
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy.random import Generator

RESAMPLES = 1000
FEW = 6
MOST_ALIKE = 0.8
"""Correlation of rounds that follow each other, at most: beyond, a run of some rounds says nothing of it."""


@dataclass(frozen=True)
class Interval:
    """A median with its error; low and high have the unit of value."""

    value: float
    low: float
    high: float
    confidence: float
    """0 for one value, which says nothing about a second one."""
    n: int
    """Rounds that it was made of."""

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


def median_interval(values: Sequence[float], rng: "Generator", confidence: float = 0.95) -> Interval:
    """Of the median of at least one value. Raises: ValueError for none, or a confidence that is not in (0, 1).

    Fewer than FEW values can't be resampled into 95 % (the median of n lies outside all of them 2^(1-n) of the time):
    theirs is the interval of a normal distribution, by Student's t, the median's error being 1.2533 times the mean's.
    """
    import numpy as np

    if not values or not 0 < confidence < 1:
        raise ValueError(
            f"got {len(values)} values and a confidence of {confidence}; expected one or more, and 0 to 1"
        )
    n, middle = len(values), float(np.median(values))
    if n == 1:
        return Interval(middle, middle, middle, 0.0, 1)
    t = _student(n - 1, rng, confidence)
    if n < FEW:
        error = t * 1.2533 * stdev(values) / n**0.5
        return _spread(Interval(middle, middle, middle, confidence, n), error, error)
    drawn = rng.integers(0, n, (RESAMPLES, n))
    medians = np.median(np.asarray(values)[drawn], axis=1)
    low, high = np.quantile(medians, [(1 - confidence) / 2, (1 + confidence) / 2])
    expanded = t / NormalDist().inv_cdf((1 + confidence) / 2) * (n / (n - 1)) ** 0.5
    alike = correlation(values)
    factor = expanded * ((1 + alike) / (1 - alike)) ** 0.5
    found = Interval(middle, middle, middle, confidence, n)
    return _spread(found, factor * (middle - float(low)), factor * (float(high) - middle))


def correlation(values: Sequence[float]) -> float:
    """Of the ranks of values that follow each other, 0 to MOST_ALIKE; two values or more.

    As few values estimate it, it is too low by (1 + 4ρ) / n (Kendall, 1954), which is added.
    """
    import numpy as np

    n = len(values)
    _, ranks, counts = np.unique(values, return_inverse=True, return_counts=True)
    centred = (np.cumsum(counts) - counts / 2)[ranks] - n / 2
    if not (variance := float(centred @ centred)):
        return 0.0
    found = float(centred[1:] @ centred[:-1]) / variance
    return min(max(found + (1 + 4 * found) / n, 0.0), MOST_ALIKE)


def error_of_one(values: Sequence[float], rng: "Generator", confidence: float = 0.95) -> float:
    """How far one more such value may lie from what is expected of it, relative to their mean: Student's t times their
    standard deviation. 0 for fewer than two."""
    if len(values) < 2:
        return 0.0
    return _student(len(values) - 1, rng, confidence) * stdev(values) / fmean(values)


def _student(freedom: int, rng: "Generator", confidence: float) -> float:
    """The bound of |t|, from 10,000 draws."""
    import numpy as np

    return float(np.quantile(np.abs(rng.standard_t(freedom, 10 * RESAMPLES)), confidence))


def ratio_interval(
    times: Sequence[float], reference: Sequence[float], rng: "Generator", confidence: float = 0.95
) -> Interval:
    """Of the median of time / reference, taken round by round. Raises: ValueError for lists of different lengths."""
    return median_interval([a / b for a, b in zip(times, reference, strict=True)], rng, confidence)


def of_a_repeat(interval: Interval) -> Interval:
    """Where the median of an equal run falls, with the same confidence."""
    return _spread(
        interval, 2**0.5 * (interval.value - interval.low), 2**0.5 * (interval.high - interval.value)
    )


def widened(interval: Interval, relative: float) -> Interval:
    """With an independent error of `relative` times the value added (in squares) on both sides."""
    error = relative * interval.value
    low, high = interval.value - interval.low, interval.high - interval.value
    return _spread(interval, (low**2 + error**2) ** 0.5, (high**2 + error**2) ** 0.5)


def _spread(interval: Interval, below: float, above: float) -> Interval:
    """Down to 0 at most, where a time ends."""
    low = interval.value - below
    return replace(interval, low=max(low, 0.0) if interval.value >= 0 else low, high=interval.value + above)
