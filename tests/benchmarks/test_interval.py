"""Intervals hold what they promise, on numbers whose median is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from colora.benchmarks.interval import FEW, Interval, median_interval, of_a_repeat, ratio_interval, widened
from hypothesis import given, settings
from hypothesis import strategies as st

SETS = 300
CONFIDENCE = 0.95

DRAWS: dict[str, tuple[Callable[[np.random.Generator, int], np.ndarray], float]] = {
    "log-normal": (lambda rng, n: np.exp(rng.normal(0, 0.1, n)), 1.0),
    "a floor and a tail": (lambda rng, n: 1 + rng.exponential(0.1, n), 1 + 0.1 * np.log(2)),
}
"""name → (times of a run, their true median)"""


@pytest.mark.parametrize(("name", "n"), [("log-normal", 3), ("log-normal", 10), ("a floor and a tail", 20)])
def test_the_true_median_is_inside_as_often_as_stated_and_a_repeat_nine_times_of_ten(
    name: str, n: int
) -> None:
    rng = np.random.default_rng(7)
    draw, true = DRAWS[name]
    covered = narrow = repeated = 0
    for _ in range(SETS):
        interval = median_interval(draw(rng, n).tolist(), rng, CONFIDENCE)
        again = float(np.median(draw(rng, n)))
        covered += true in interval
        narrow += again in interval
        repeated += again in of_a_repeat(interval)
    # the count of 300 has a standard deviation of 1.3 %; the percentile method itself gives 93 to 95 % for 10 to 30
    # rounds, Student's t 95 %, so that 0.90 is three deviations below, and above 0.99 intervals would be far too wide
    assert 0.90 <= covered / SETS <= 0.99
    assert repeated / SETS >= 0.89  # 0.9 is asked, 0.92 expected, one deviation 1.6 %
    assert n < FEW or narrow / SETS < 0.89  # 0.83 expected: of two medians each has its error


@settings(max_examples=25, deadline=None, derandomize=True)  # a busy machine is no failure
@given(st.lists(st.floats(0.1, 1e3), min_size=1, max_size=12), st.floats(0.1, 10), st.floats(0, 0.5))
def test_scale_order_and_widening(values: list[float], scale: float, error: float) -> None:
    found = median_interval(values, np.random.default_rng(0))
    slack = 1e-9 * max(values)
    assert found.low - slack <= found.value <= found.high + slack and found.n == len(values)
    assert len(values) < FEW or (min(values) <= found.low and found.high <= max(values))
    scaled = median_interval([scale * value for value in values], np.random.default_rng(0))
    assert np.allclose([scaled.low, scaled.high], [scale * found.low, scale * found.high])
    wider, repeat = widened(found, error), of_a_repeat(found)
    assert wider.low <= found.low + slack and wider.high >= found.high - slack
    assert np.isclose(repeat.high - repeat.value, 2**0.5 * (found.high - found.value))
    assert wider.value == repeat.value == found.value


def test_a_ratio_is_paired_so_that_a_slow_round_does_not_widen_it() -> None:
    slow = [1.0, 5.0, 2.0, 9.0, 1.5, 30.0]
    ratio = ratio_interval([2 * ms for ms in slow], slow, np.random.default_rng(0))
    assert (ratio.low, ratio.value, ratio.high) == (2.0, 2.0, 2.0)
    with pytest.raises(ValueError):
        ratio_interval([1.0], [1.0, 2.0], np.random.default_rng(0))


def test_same_seed_same_interval_and_more_confidence_is_wider() -> None:
    values = DRAWS["log-normal"][0](np.random.default_rng(1), 15).tolist()
    a, b = (median_interval(values, np.random.default_rng(5)) for _ in range(2))
    assert a == b
    surer = median_interval(values, np.random.default_rng(5), 0.99)
    assert surer.low <= a.low and surer.high >= a.high and surer.high - surer.low > a.high - a.low
    assert widened(Interval(10.0, 7.0, 14.0, 0.95, 5), 0.3) == Interval(
        10.0, 10 - 18**0.5, 15.0, 0.95, 5
    )  # 3 and 4 with 3 in squares


@pytest.mark.parametrize(("values", "confidence"), [([], 0.95), ([1.0], 1.0), ([1.0], 0.0)])
def test_nothing_to_resample_is_refused(values: list[float], confidence: float) -> None:
    with pytest.raises(ValueError, match=r"got \d values and a confidence of .*; expected one or more"):
        median_interval(values, np.random.default_rng(0), confidence)


def test_no_interval_of_a_time_reaches_below_nothing() -> None:
    wild = median_interval([1.0, 2.0, 30.0], np.random.default_rng(0))  # Student's t alone would give -40
    assert wild.low == 0 and wild.high > 30
    assert of_a_repeat(wild).low == widened(wild, 3.0).low == 0
